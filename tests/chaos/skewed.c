/* Preloaded into a process, so that its wall clock is wrong; what counts from its start (monotonic) is right.
 *
 * CHAOS_CLOCK="offset speed period": so many seconds off, then running so many times as fast, and, with a period,
 * off to the other side every so many seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static double offset, speed = 1.0, period, began;

static double seconds(const struct timespec *t) { return (double)t->tv_sec + (double)t->tv_nsec / 1e9; }

__attribute__((constructor)) static void read_settings(void) {
    struct timespec now;
    const char *said = getenv("CHAOS_CLOCK");
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (said != NULL)
        sscanf(said, "%lf %lf %lf", &offset, &speed, &period);
    real(CLOCK_REALTIME, &now);
    began = seconds(&now);
}

int clock_gettime(clockid_t which, struct timespec *t) {
    if (real == NULL)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(which, t);
    if (answer == 0 && began > 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        double passed = seconds(t) - began;
        int other = period > 0 && (long)(passed / period) % 2;
        double wrong = began + passed * speed + (other ? -offset : offset);
        t->tv_sec = (time_t)floor(wrong);
        t->tv_nsec = (long)((wrong - floor(wrong)) * 1e9);
    }
    return answer;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL)
        *t = now.tv_sec;
    return now.tv_sec;
}
