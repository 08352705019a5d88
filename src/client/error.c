/* SPDX-License-Identifier: Apache-2.0 */
#include "mcomp.h"

#include <stdarg.h>
#include <stdio.h>

#include "client/grid.h"

enum mcomp_status error_set(struct mcomp_error *error, enum mcomp_status status, int sys_errno, uint32_t node, const char *format, ...)
{
    MC_ASSERT(status != MCOMP_OK);
    if (!error)
        return status;
    error->status = status;
    error->sys_errno = sys_errno;
    error->node = node;
    error->span_count = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}

enum mcomp_status error_from(struct mcomp_error *error, uint32_t node, const struct err *err)
{
    return error_set(error, err->code, err->sys_errno, node, "%s", err->text);
}

enum mcomp_status error_memory(struct mcomp_error *error)
{
    return error_set(error, MCOMP_RESOURCE_EXHAUSTED, 0, MCOMP_NO_NODE, "out of memory; nothing was sent");
}

const char *mcomp_status_name(enum mcomp_status status)
{
    return status_name(status);
}

const char *mcomp_status_text(enum mcomp_status status)
{
    return status_text(status);
}

const char *mcomp_version(void)
{
    return MCOMP_VERSION;
}
