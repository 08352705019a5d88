/* SPDX-License-Identifier: Apache-2.0 */
/** What the daemons have in common between main() and their own work: options, configuration, log, signals. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"

enum { DAEMON_EXIT_OK = 0, DAEMON_EXIT_FAILED = 1, DAEMON_EXIT_USAGE = 2 };

#define DAEMON_GO_ON (-1) /* of functions that return an exit code when the program is to end */

struct daemon_option {
    const char *name;
    const char *value; /* "=FILE", "" when it takes none */
    char letter;       /* none of c, n, l, v, h, V */
    const char *help;
};

/** One daemon, as its users see it. All text is borrowed, as a rule literals. */
struct daemon_program {
    const char *name;  /* "mcompd" */
    const char *about; /* one line of --help */
    const char *notes; /* its last lines */
    const struct daemon_option *options; /* those that it has besides the common ones */
    size_t option_count;
    /** Take one of them. Returns DAEMON_GO_ON, or the exit code. NULL: there are none. */
    int (*take)(void *arg, char letter, const char *value);
    void *arg;
};

struct daemon_options {
    const char *config_path; /* NULL: the default path */
    bool has_node;
    uint32_t node;
    const char *log_path; /* NULL: standard error */
    enum log_level log_level;
};

/** Read the command line; obeys --help and --version. Returns DAEMON_GO_ON, or the exit code. */
int daemon_parse(const struct daemon_program *program, int argc, char **argv, struct daemon_options *options);

/** Say what is wrong with the command line. Returns DAEMON_EXIT_USAGE. */
int daemon_usage_error(const struct daemon_program *program, const char *format, ...) PRINTF_LIKE(2, 3);

/** Open the log, load the configuration (all that is wrong with it goes to standard error), find the node's number. On OK the caller frees config;
 *  a failure is logged already. */
MUST_CHECK enum mcomp_status daemon_configure(const struct daemon_program *program, const struct daemon_options *options, struct config *config,
                                              uint32_t *node);

/** Let the process open so many descriptors, or log that it cannot, and what to do about it. */
void daemon_need_descriptors(uint32_t wanted, const char *remedy);

/** Threads that are started from now on take no signals: they are the main loop's. */
void daemon_block_signals(void);

/** Signals of the main loop. Owner: main(). */
struct daemon_signals {
    void (*stop)(void *arg);   /* SIGTERM or SIGINT came, once or again; logged already */
    void (*reopen)(void *arg); /* SIGHUP came; the log is reopened already. May be NULL */
    void *arg;
    ev_signal term, interrupt, hangup;
    ev_timer look;
};

/** Take signals on this loop, the default one, from now on: ends what daemon_block_signals began, for this thread. */
void daemon_signals_start(struct daemon_signals *signals, struct ev_loop *loop);

#endif
