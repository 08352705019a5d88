/* SPDX-License-Identifier: Apache-2.0 */
/** The line that long work shows on a terminal:
 *
 *    load [########>           ]  42 %  40.1 MiB of 95.37 MiB  119 MiB/s  1 s left  */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_UNKNOWN UINT64_MAX
#define PROGRESS_LINE_BYTES 256u
#define PROGRESS_INTERVAL_MS 100 /* between two drawings */

/** One thread. Initialise with progress_begin(). */
struct progress {
    bool shown;        /* standard error is a terminal */
    bool drawn;        /* a line stands there */
    const char *title; /* borrowed */
    uint64_t total;    /* bytes, or PROGRESS_UNKNOWN */
    uint64_t done;     /* bytes */
    uint64_t begin_ns, drawn_ns;
    uint64_t rate_ns, rate_done; /* where the rate was last taken */
    double rate;                 /* bytes per second, smoothed; 0 until known */
};

/** Begin at now_ns (monotonic); shown: draw at all. */
void progress_begin(struct progress *progress, const char *title, uint64_t total, bool shown, uint64_t now_ns);

/** Take note of done bytes, and draw when PROGRESS_INTERVAL_MS have passed since the last time. */
void progress_update(struct progress *progress, uint64_t done, uint64_t now_ns);

/** Remove the line. */
void progress_end(struct progress *progress);

/** The line, at most width columns; the bar takes what the words leave, and is dropped when that is too little. Returns line. */
const char *progress_format(const struct progress *progress, unsigned width, char line[PROGRESS_LINE_BYTES]);

#endif
