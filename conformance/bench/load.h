/* What the load generators share: how they fail, and the clocks of a job. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_LINKS = 20000, PATIENCE = 30 };

static void fail(const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    printf("{\"failed\": \"");
    vprintf(format, rest);
    printf("\"}\n");
    exit(1);
}

static void fail_call(const char *call)
{
    fail("%s: %s", call, strerror(errno));
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* The clocks when a job began. */
struct start {
    uint64_t time, cpu;
};

static struct start start_job(void)
{
    return (struct start){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

/* Print the result of a job, but for the brace behind it. */
static void print_result(struct start start, uint64_t count)
{
    double seconds = (double)(read_clock(CLOCK_MONOTONIC) - start.time) / 1e9;
    double busy = (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - start.cpu) / 1e9;
    printf("{\"count\": %ju, \"seconds\": %.6f, \"load_share\": %.4f", (uintmax_t)count, seconds, busy / seconds);
}
