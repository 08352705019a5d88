/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/internal.h"

#define DEFAULT_PATH "mcomp.cfg"
#define SYSTEM_PATH "/etc/mcomp/mcomp.cfg"

void config_free(struct config *config)
{
    free(config->node);
    memset(config, 0, sizeof *config);
}

const char *config_default_path(void)
{
    const char *path = getenv("MCOMP_CONFIG");
    if (path && *path)
        return path;
    return access(DEFAULT_PATH, F_OK) != 0 && access(SYSTEM_PATH, F_OK) == 0 ? SYSTEM_PATH : DEFAULT_PATH;
}

/** The three steps of internal.h. */
static enum mcomp_status parse(struct config *config, const char *text, size_t bytes, struct problems *problems, struct err *err)
{
    struct clean_text clean;
    struct reading reading;
    enum mcomp_status status = guard_clean(text, bytes, &clean, problems, err);
    if (status != MCOMP_OK)
        return status;
    if (problems->count == 0) {
        status = reader_read(&clean, &reading, problems, err);
        if (status == MCOMP_OK) {
            status = check_settings(config, &reading, clean.lines, problems, err);
            reader_free(&reading);
        }
    }
    guard_free(&clean);
    return status;
}

enum mcomp_status config_parse(struct config *config, const char *name, const char *text, size_t bytes, FILE *problems, struct err *err)
{
    memset(config, 0, sizeof *config);
    if (strlen(name) >= sizeof config->path)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%.64s...: the path is too long: at most %zu bytes", name, sizeof config->path - 1);
    if (bytes > CONFIG_FILE_BYTES_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s: larger than %u bytes: is this a mcomp.cfg?", name, CONFIG_FILE_BYTES_MAX);
    memcpy(config->path, name, strlen(name) + 1);
    struct problems found = {0};
    enum mcomp_status status = parse(config, text, bytes, &found, err);
    if (status == MCOMP_OK)
        status = problems_report(&found, name, problems, err);
    else
        err_wrap(err, status, "%s", name);
    problems_free(&found);
    if (status != MCOMP_OK)
        config_free(config);
    return status;
}

/** All of the file, but not more than CONFIG_FILE_BYTES_MAX + 1 bytes, which tell that it is too large. */
static enum mcomp_status read_all(int fd, const char *path, char *text, size_t *bytes, struct err *err)
{
    *bytes = 0;
    while (*bytes <= CONFIG_FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + *bytes, CONFIG_FILE_BYTES_MAX + 1 - *bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: cannot read the configuration", path);
        if (n == 0)
            break;
        *bytes += (size_t)n;
    }
    return MCOMP_OK;
}

static enum mcomp_status open_file(const char *path, int *fd, struct err *err)
{
    do {
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    } while (*fd < 0 && errno == EINTR);
    if (*fd < 0) {
        int reason = errno;
        enum mcomp_status status = err_sys(err, reason, "%s: cannot open the configuration", path);
        if (reason == ENOENT || reason == EACCES) {
            struct err why = *err;
            err_set(err, status, "%s: %s", why.text,
                    reason == ENOENT ? "name an existing file with --config or MCOMP_CONFIG" : "give this user the right to read it");
            err->sys_errno = reason;
        }
        return status;
    }
    struct stat stat;
    if (fstat(*fd, &stat) == 0 && S_ISDIR(stat.st_mode)) {
        close(*fd);
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s: is a directory: name the file, such as %s/mcomp.cfg", path, path);
    }
    return MCOMP_OK;
}

enum mcomp_status config_load(struct config *config, const char *path, FILE *problems, struct err *err)
{
    struct err own;
    struct err *reason = err ? err : &own;
    size_t bytes = 0;
    int fd = -1;
    memset(config, 0, sizeof *config);
    char *text = NULL;
    enum mcomp_status status = open_file(path, &fd, reason);
    if (status == MCOMP_OK) {
        text = malloc(CONFIG_FILE_BYTES_MAX + 1);
        status = text ? read_all(fd, path, text, &bytes, reason) : err_sys(reason, ENOMEM, "%s", path);
        close(fd);
    }
    bool parsed = status == MCOMP_OK && bytes <= CONFIG_FILE_BYTES_MAX;
    if (status == MCOMP_OK)
        status = config_parse(config, path, text, bytes, problems, reason);
    if (status != MCOMP_OK && !parsed && problems)
        fprintf(problems, "%s\n", reason->text);
    free(text);
    return status;
}
