/* SPDX-License-Identifier: Apache-2.0 */
/** Files on the local side of load and save. */
#ifndef CLI_LOCAL_FILE_H
#define CLI_LOCAL_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/** A file that appears under its name when it is whole and on disk: a temporary file beside it, fsync, rename, fsync of the folder. An existing
 *  regular file is replaced and keeps its permissions; of a symbolic link, the file it points to. Pipes, terminals and devices are written
 *  directly. "-" is standard output. */
struct output_file {
    int fd;                   /* owned, -1 = closed; STDOUT_FILENO for "-" */
    bool direct;              /* no temporary file */
    char path[PATH_MAX];      /* where it is to appear */
    char temporary[PATH_MAX];
};

/** Begin; expected bytes are reserved on disk where the file system can do that, so that a full one is found before work begins.
 *  Errors: those of the system calls, with the name. After a failure there is nothing to close. */
MUST_CHECK enum mcomp_status output_file_open(struct output_file *file, const char *path, uint64_t expected, struct err *err);

/** Wait until what was written is on disk. It stays open, also on failure. */
MUST_CHECK enum mcomp_status output_file_sync(struct output_file *file, struct err *err);

/** Put it, synced, under its name, and close. On failure the temporary file is gone. */
MUST_CHECK enum mcomp_status output_file_commit(struct output_file *file, struct err *err);

/** Remove the temporary file, and close. */
void output_file_discard(struct output_file *file);

/** Open for reading. *length: bytes from here to the end of a regular file or block device, else UINT64_MAX. "-" is standard input.
 *  Owns: on OK the caller closes *fd, unless it is STDIN_FILENO. Errors: those of the system calls; INVALID_ARGUMENT for a directory. */
MUST_CHECK enum mcomp_status input_file_open(const char *path, int *fd, uint64_t *length, struct err *err);

/** Close what input_file_open() gave. */
void input_file_close(int fd);

#endif
