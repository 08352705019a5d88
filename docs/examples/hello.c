/* SPDX-License-Identifier: Apache-2.0 */
#include <mcomp.h>
#include <stdio.h>

int main(void)
{
    struct mcomp *grid;
    struct mcomp_error error;
    char text[6] = "";
    uint64_t before;
    if (mcomp_open(&grid, NULL, NULL, &error) != MCOMP_OK) /* $MCOMP_CONFIG, ./mcomp.cfg or /etc/mcomp/mcomp.cfg */
        return fprintf(stderr, "%s\n", error.text), 1;
    uint64_t at = mcomp_segment_size(grid) - 2; /* 2 bytes on node 0, 3 on node 1 */
    enum mcomp_status status = mcomp_write(grid, at, "hello", 5, MCOMP_TIMEOUT_DEFAULT, &error);
    if (status == MCOMP_OK)
        status = mcomp_read(grid, at, text, 5, MCOMP_TIMEOUT_DEFAULT, &error);
    if (status == MCOMP_OK)
        status = mcomp_fetch_add(grid, 0, 1, &before, MCOMP_TIMEOUT_DEFAULT, &error);
    if (status == MCOMP_OK)
        printf("%s, visitor %llu\n", text, (unsigned long long)before + 1);
    else
        fprintf(stderr, "%s: %s\n", mcomp_status_name(status), error.text);
    mcomp_close(grid);
    return status != MCOMP_OK;
}
