/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/output.h"

#define NS_PER_S 1e9
#define RATE_WINDOW_NS UINT64_C(500000000) /* the rate is taken this often … */
#define RATE_WEIGHT 0.3                    /* … and the newest counts this much */
#define BAR_MIN 10u
#define BAR_MAX 40u

void progress_begin(struct progress *progress, const char *title, uint64_t total, bool shown, uint64_t now_ns)
{
    *progress = (struct progress){.shown = shown, .title = title, .total = total, .begin_ns = now_ns, .drawn_ns = now_ns, .rate_ns = now_ns};
}

static void update_rate(struct progress *progress, uint64_t now_ns)
{
    uint64_t elapsed = now_ns - progress->rate_ns;
    if (elapsed < RATE_WINDOW_NS)
        return;
    double newest = (double)(progress->done - progress->rate_done) * NS_PER_S / (double)elapsed;
    progress->rate = progress->rate > 0 ? progress->rate + RATE_WEIGHT * (newest - progress->rate) : newest;
    progress->rate_ns = now_ns;
    progress->rate_done = progress->done;
}

/** "[####>   ]" of `cells` cells inside the brackets. */
static void format_bar(char *bar, unsigned cells, uint64_t done, uint64_t total)
{
    unsigned full = total ? (unsigned)((double)done / (double)total * cells) : cells;
    if (full > cells)
        full = cells;
    *bar++ = '[';
    memset(bar, '#', full);
    memset(bar + full, ' ', cells - full);
    if (full < cells)
        bar[full] = '>';
    bar[cells] = ']';
    bar[cells + 1] = 0;
}

const char *progress_format(const struct progress *progress, unsigned width, char line[PROGRESS_LINE_BYTES])
{
    char done[UNITS_TEXT_BYTES], total[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES];
    char words[160], bar[BAR_MAX + 3] = "";
    bool known = progress->total != PROGRESS_UNKNOWN;
    int n = 0;
    if (known) {
        double share = progress->total ? 100.0 * (double)progress->done / (double)progress->total : 100.0;
        n = snprintf(words, sizeof words, "%3.0f %%  %s of %s", share > 99.4 && progress->done < progress->total ? 99.0 : share,
                     units_format_bytes(progress->done, done), units_format_bytes(progress->total, total));
    } else {
        n = snprintf(words, sizeof words, "%s", units_format_bytes(progress->done, done));
    }
    if (progress->rate >= 1 && known && progress->done < progress->total) {
        double seconds = (double)(progress->total - progress->done) / progress->rate;
        uint64_t left_ns = seconds < 1e9 ? (uint64_t)(seconds + 1) * UINT64_C(1000000000) : (uint64_t)1e18;
        snprintf(words + n, sizeof words - (size_t)n, "  %s/s  %s left", units_format_bytes((uint64_t)progress->rate, rate),
                 units_format_duration(left_ns, left));
    } else if (progress->rate >= 1) {
        snprintf(words + n, sizeof words - (size_t)n, "  %s/s", units_format_bytes((uint64_t)progress->rate, rate));
    }
    size_t used = strlen(progress->title) + 1 + strlen(words);
    if (known && used + BAR_MIN + 3 <= width) {
        unsigned cells = width - (unsigned)used - 3;
        format_bar(bar, cells < BAR_MAX ? cells : BAR_MAX, progress->done, progress->total);
    }
    snprintf(line, PROGRESS_LINE_BYTES, "%s %s%s%s", progress->title, bar, *bar ? " " : "", words);
    if (width < PROGRESS_LINE_BYTES)
        line[width] = 0;
    return line;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t now_ns)
{
    progress->done = done;
    update_rate(progress, now_ns);
    if (!progress->shown || now_ns - progress->drawn_ns < PROGRESS_INTERVAL_MS * UINT64_C(1000000))
        return;
    char line[PROGRESS_LINE_BYTES];
    /* One column stays free: a character in the last one would wrap the line. */
    fprintf(stderr, "\r%s\033[K", progress_format(progress, output_width(STDERR_FILENO) - 1, line));
    fflush(stderr);
    progress->drawn_ns = now_ns;
    progress->drawn = true;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
