/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/local_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define NAMES_TRIED 100

static enum mcomp_status path_error(struct err *err, int reason, const char *what, const char *path)
{
    char quoted[TEXT_QUOTE_BYTES];
    return err_sys(err, reason, "cannot %s %s", what, text_quote(path, quoted));
}

/** The folder of file->path, as a path. */
static void folder_of(const struct output_file *file, char folder[PATH_MAX])
{
    const char *slash = strrchr(file->path, '/');
    size_t length = slash ? (size_t)(slash - file->path) : 0;
    if (!slash)
        snprintf(folder, PATH_MAX, ".");
    else
        snprintf(folder, PATH_MAX, "%.*s", length > 0 ? (int)length : 1, file->path);
}

static enum mcomp_status open_temporary(struct output_file *file, mode_t mode, struct err *err)
{
    char folder[PATH_MAX];
    folder_of(file, folder);
    const char *slash = strrchr(file->path, '/');
    for (int i = 0; i < NAMES_TRIED; i++) {
        int n = snprintf(file->temporary, sizeof file->temporary, "%s/.%.200s.mcomp-%ld-%d", folder, slash ? slash + 1 : file->path, (long)getpid(), i);
        if (n < 0 || (size_t)n >= sizeof file->temporary)
            return path_error(err, ENAMETOOLONG, "create a file beside", file->path);
        file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (file->fd >= 0)
            return MCOMP_OK;
        if (errno != EEXIST)
            break;
    }
    return path_error(err, errno, "create a file in folder", folder);
}

/** Reserve the space, where that is possible. */
static enum mcomp_status reserve(struct output_file *file, uint64_t expected, struct err *err)
{
    if (expected == 0 || expected > INT64_MAX)
        return MCOMP_OK;
    int result;
    do {
        result = fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)expected);
    } while (result < 0 && errno == EINTR);
    if (result == 0 || (errno != ENOSPC && errno != EFBIG && errno != EDQUOT))
        return MCOMP_OK;
    int reason = errno;
    output_file_discard(file);
    return err_sys(err, reason, "cannot reserve %llu bytes for the file", (unsigned long long)expected);
}

static enum mcomp_status open_direct(struct output_file *file, const char *path, struct err *err)
{
    file->direct = true;
    file->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return file->fd >= 0 ? MCOMP_OK : path_error(err, errno, "open", path);
}

enum mcomp_status output_file_open(struct output_file *file, const char *path, uint64_t expected, struct err *err)
{
    struct stat st;
    mode_t mode = 0666; /* the umask takes its part */
    *file = (struct output_file){.fd = -1};
    if (strcmp(path, "-") == 0) {
        file->direct = true;
        file->fd = STDOUT_FILENO;
        return MCOMP_OK;
    }
    bool exists = stat(path, &st) == 0;
    if (!exists && errno != ENOENT)
        return path_error(err, errno, "look at", path);
    if (exists && S_ISDIR(st.st_mode))
        return path_error(err, EISDIR, "write", path);
    if (exists && !S_ISREG(st.st_mode))
        return open_direct(file, path, err);
    if (exists && access(path, W_OK) != 0)
        return path_error(err, errno, "replace", path);
    if (exists && !realpath(path, file->path))
        return path_error(err, errno, "resolve", path);
    if (!exists && (size_t)snprintf(file->path, sizeof file->path, "%s", path) >= sizeof file->path)
        return path_error(err, ENAMETOOLONG, "create", path);
    enum mcomp_status status = open_temporary(file, exists ? 0600 : mode, err);
    if (status != MCOMP_OK)
        return status;
    if (exists && fchmod(file->fd, st.st_mode & 07777) != 0) {
        status = path_error(err, errno, "set the permissions of", file->temporary);
        output_file_discard(file);
        return status;
    }
    return reserve(file, expected, err);
}

static enum mcomp_status sync_folder(const struct output_file *file, struct err *err)
{
    char folder[PATH_MAX];
    folder_of(file, folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum mcomp_status status = MCOMP_OK;
    if (fd < 0)
        return path_error(err, errno, "open folder", folder);
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: the file system cannot */
        status = path_error(err, errno, "sync folder", folder);
    close(fd);
    return status;
}

enum mcomp_status output_file_sync(struct output_file *file, struct err *err)
{
    if (fsync(file->fd) == 0)
        return MCOMP_OK;
    /* Not every pipe, terminal or device can be synced; those that can, are. */
    if (file->direct && (errno == EINVAL || errno == EROFS || errno == ENOTSUP))
        return MCOMP_OK;
    return path_error(err, errno, "sync", file->direct ? "the output" : file->temporary);
}

enum mcomp_status output_file_commit(struct output_file *file, struct err *err)
{
    if (file->direct) {
        output_file_discard(file);
        return MCOMP_OK;
    }
    if (rename(file->temporary, file->path) != 0) {
        enum mcomp_status status = path_error(err, errno, "rename the temporary file to", file->path);
        output_file_discard(file);
        return status;
    }
    int fd = file->fd;
    file->fd = -1;
    if (close(fd) != 0)
        return path_error(err, errno, "close", file->path);
    return sync_folder(file, err);
}

void output_file_discard(struct output_file *file)
{
    if (!file->direct && file->temporary[0])
        unlink(file->temporary);
    if (file->fd >= 0 && file->fd != STDOUT_FILENO)
        close(file->fd);
    file->fd = -1;
}

enum mcomp_status input_file_open(const char *path, int *fd, uint64_t *length, struct err *err)
{
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    *fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0)
        return path_error(err, errno, "open", name);
    int reason = fstat(*fd, &st) != 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    if (reason != 0) {
        input_file_close(*fd);
        return path_error(err, reason, "read", name);
    }
    *length = UINT64_MAX;
    off_t at = lseek(*fd, 0, SEEK_CUR);
    if (S_ISREG(st.st_mode) && at >= 0) {
        *length = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
        (void)posix_fadvise(*fd, at, 0, POSIX_FADV_SEQUENTIAL);
    } else if (S_ISBLK(st.st_mode) && at >= 0) {
        off_t end = lseek(*fd, 0, SEEK_END);
        if (end >= at && lseek(*fd, at, SEEK_SET) == at)
            *length = (uint64_t)(end - at);
    }
    return MCOMP_OK;
}

void input_file_close(int fd)
{
    if (fd != STDIN_FILENO)
        close(fd);
}
