/* SPDX-License-Identifier: Apache-2.0 */
/* The directory that snapshots are kept in. Names tell which files are ours: GRID-RRRRRRRR-YYYYMMDDTHHMMSSZ.mcsnap, and .tmp behind it while being written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "snapshot/format.h"

#define ROUND_DIGITS 8u
#define TIME_FORMAT "%Y%m%dT%H%M%SZ"
#define TIME_BYTES 16u

_Static_assert(SNAPSHOT_NAME_BYTES > GRID_NAME_BYTES_MAX + ROUND_DIGITS + TIME_BYTES + 32, "names fit");

void snapshot_name(char name[SNAPSHOT_NAME_BYTES], const char *grid, uint32_t round, uint64_t utc_ns)
{
    char when[64];
    struct tm tm;
    time_t seconds = (time_t)(utc_ns / 1000000000u);
    gmtime_r(&seconds, &tm);
    MC_ASSERT(strlen(grid) <= GRID_NAME_BYTES_MAX && strftime(when, sizeof when, TIME_FORMAT, &tm) == TIME_BYTES);
    snprintf(name, SNAPSHOT_NAME_BYTES, "%s-%08" PRIx32 "-%s" SNAPSHOT_SUFFIX, grid, round, when);
}

/** Read bytes as a number without sign or space. */
static bool take_digits(const char *text, size_t digits, unsigned base, uint64_t *value)
{
    static const char all[] = "0123456789abcdef";
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        const char *digit = text[i] ? strchr(all, text[i]) : NULL;
        if (!digit || (unsigned)(digit - all) >= base)
            return false;
        *value = *value * base + (uint64_t)(digit - all);
    }
    return true;
}

static bool take_time(const char *text, uint64_t *utc_ns)
{
    uint64_t date, clock;
    if (!take_digits(text, 8, 10, &date) || text[8] != 'T' || !take_digits(text + 9, 6, 10, &clock) || text[15] != 'Z')
        return false;
    struct tm tm = {.tm_year = (int)(date / 10000) - 1900,
                    .tm_mon = (int)(date / 100 % 100) - 1,
                    .tm_mday = (int)(date % 100),
                    .tm_hour = (int)(clock / 10000),
                    .tm_min = (int)(clock / 100 % 100),
                    .tm_sec = (int)(clock % 100)};
    time_t seconds = timegm(&tm);
    *utc_ns = seconds < 0 ? 0 : (uint64_t)seconds * 1000000000u;
    return true;
}

/** Is this the name of a file of the grid, with that suffix behind? */
static bool take_name(const char *name, const char *grid, const char *suffix, uint32_t *round, uint64_t *utc_ns)
{
    size_t grid_bytes = strlen(grid);
    uint64_t number;
    if (strncmp(name, grid, grid_bytes) != 0 || name[grid_bytes] != '-')
        return false;
    const char *at = name + grid_bytes + 1;
    if (!take_digits(at, ROUND_DIGITS, 16, &number) || at[ROUND_DIGITS] != '-' || !take_time(at + ROUND_DIGITS + 1, utc_ns))
        return false;
    *round = (uint32_t)number;
    return strcmp(at + ROUND_DIGITS + 1 + TIME_BYTES, suffix) == 0;
}

/** *folder: NULL, with OK, when there is no such directory. */
static enum mcomp_status open_directory(const char *directory, DIR **folder, struct err *err)
{
    *folder = opendir(directory);
    return *folder || errno == ENOENT ? MCOMP_OK : err_sys(err, errno, "cannot list directory %s", directory);
}

/** The next name. NULL: there are no more, or reading failed, which *status tells. */
static const char *next_name(const char *directory, DIR *folder, enum mcomp_status *status, struct err *err)
{
    errno = 0;
    const struct dirent *entry = readdir(folder);
    if (!entry && errno != 0)
        *status = err_sys(err, errno, "cannot list directory %s", directory);
    return entry ? entry->d_name : NULL;
}

enum mcomp_status snapshot_highest_round(const char *directory, const char *grid, uint32_t *round, struct err *err)
{
    DIR *folder;
    const char *name;
    *round = 0;
    enum mcomp_status status = open_directory(directory, &folder, err);
    if (!folder)
        return status;
    while ((name = next_name(directory, folder, &status, err))) {
        uint32_t has;
        uint64_t utc_ns;
        if ((take_name(name, grid, SNAPSHOT_SUFFIX, &has, &utc_ns) || take_name(name, grid, SNAPSHOT_SUFFIX SNAPSHOT_TEMPORARY_SUFFIX, &has, &utc_ns)) &&
            has > *round)
            *round = has;
    }
    closedir(folder);
    return status;
}

/* ---- sweeping ---- */

/** Remove a temporary file unless somebody writes it, which its lock tells. 1: removed, 0: not ours to remove, or gone; -1: errno. */
static int sweep_one(DIR *folder, const char *name)
{
    struct stat st;
    int fd = openat(dirfd(folder), name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == EISDIR || errno == ENXIO ? 0 : -1;
    int result = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)) {
        result = unlinkat(dirfd(folder), name, 0) == 0 ? 1 : errno == ENOENT ? 0 : -1;
    }
    int reason = errno;
    close(fd);
    errno = reason;
    return result;
}

enum mcomp_status snapshot_sweep(const char *directory, const char *grid, uint32_t *removed, struct err *err)
{
    DIR *folder;
    const char *name;
    *removed = 0;
    enum mcomp_status status = open_directory(directory, &folder, err);
    if (!folder)
        return status;
    while ((name = next_name(directory, folder, &status, err))) {
        uint32_t round;
        uint64_t utc_ns;
        if (!take_name(name, grid, SNAPSHOT_SUFFIX SNAPSHOT_TEMPORARY_SUFFIX, &round, &utc_ns))
            continue;
        int result = sweep_one(folder, name);
        if (result > 0)
            ++*removed;
        else if (result < 0 && status == MCOMP_OK)
            status = err_sys(err, errno, "cannot remove %s/%s, left behind by a snapshot that was not completed", directory, name);
    }
    closedir(folder);
    return status;
}

/* ---- listing ---- */

/** Fill in what the file itself says. */
static enum mcomp_status look_into(const char *directory, const char *grid, struct snapshot_entry *entry, struct err *err)
{
    struct snapshot_reader *reader;
    struct stat st;
    struct err reason;
    char *path;
    if (asprintf(&path, "%s/%s", directory, entry->name) < 0)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to list directory %s", directory);
    if (stat(path, &st) == 0)
        entry->bytes = (uint64_t)st.st_size;
    enum mcomp_status status = snapshot_reader_open(&reader, path, &reason);
    free(path);
    if (status == MCOMP_RESOURCE_EXHAUSTED)
        return err_set(err, status, "%s", reason.text);
    if (status != MCOMP_OK) {
        snprintf(entry->problem, sizeof entry->problem, "%s", reason.text);
        return MCOMP_OK;
    }
    const Header *header = snapshot_reader_header(reader);
    if (strcmp(header->grid, grid) != 0 || header->round != entry->round) {
        snprintf(entry->problem, sizeof entry->problem, "it was renamed: it holds round %" PRIu32 " of grid %.64s", header->round, header->grid);
    } else {
        entry->sound = true;
        entry->cut_utc_ns = header->cut_utc_ns;
        entry->segment_size = header->segment_size;
        entry->nodes = header->nodes;
        entry->duration_ns = header->duration_ns;
        entry->longest_pause_ns = header->longest_pause_ns;
        entry->pages_stored = header->pages_stored;
    }
    snapshot_reader_close(reader);
    return MCOMP_OK;
}

static int newest_first(const void *left, const void *right)
{
    const struct snapshot_entry *a = left, *b = right;
    if (a->round != b->round)
        return a->round > b->round ? -1 : 1;
    if (a->cut_utc_ns != b->cut_utc_ns)
        return a->cut_utc_ns > b->cut_utc_ns ? -1 : 1;
    return strcmp(b->name, a->name);
}

static enum mcomp_status add_entry(struct snapshot_entry **entries, size_t *count, const struct snapshot_entry *entry, struct err *err)
{
    if ((*count & (*count - 1)) == 0) { /* full at each power of two */
        struct snapshot_entry *grown = realloc(*entries, (*count ? 2 * *count : 1) * sizeof *grown);
        if (!grown)
            return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to list snapshots");
        *entries = grown;
    }
    (*entries)[(*count)++] = *entry;
    return MCOMP_OK;
}

enum mcomp_status snapshot_list(const char *directory, const char *grid, struct snapshot_entry **entries, size_t *count, struct err *err)
{
    DIR *folder;
    const char *name;
    *entries = NULL;
    *count = 0;
    enum mcomp_status status = open_directory(directory, &folder, err);
    if (!folder)
        return status;
    while (status == MCOMP_OK && (name = next_name(directory, folder, &status, err))) {
        struct snapshot_entry entry = {0};
        if (!take_name(name, grid, SNAPSHOT_SUFFIX, &entry.round, &entry.cut_utc_ns))
            continue;
        snprintf(entry.name, sizeof entry.name, "%s", name);
        status = look_into(directory, grid, &entry, err);
        if (status == MCOMP_OK)
            status = add_entry(entries, count, &entry, err);
    }
    closedir(folder);
    if (status != MCOMP_OK) {
        free(*entries);
        *entries = NULL;
        *count = 0;
    }
    if (*count > 0)
        qsort(*entries, *count, sizeof **entries, newest_first);
    return status;
}

enum mcomp_status snapshot_retain(const char *directory, const char *grid, uint32_t keep, struct err *err)
{
    struct snapshot_entry *entries;
    size_t count;
    enum mcomp_status status = snapshot_list(directory, grid, &entries, &count, err);
    if (status != MCOMP_OK || count == 0)
        return status;
    uint32_t kept = 0;
    int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        status = err_sys(err, errno, "cannot open directory %s", directory);
    for (size_t i = 0; i < count && folder >= 0; i++) {
        if (!entries[i].sound || kept++ < (keep ? keep : 1))
            continue;
        if (unlinkat(folder, entries[i].name, 0) != 0 && errno != ENOENT && status == MCOMP_OK)
            status = err_sys(err, errno, "cannot remove the old snapshot %s/%s", directory, entries[i].name);
    }
    if (folder >= 0)
        close(folder);
    free(entries);
    return status;
}
