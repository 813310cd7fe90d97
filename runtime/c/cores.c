/* The processors that this process may run on. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <sched.h>
#include <unistd.h>

#include "support.h"

unsigned espalier_cores(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        return (unsigned)CPU_COUNT(&allowed);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than the set has room for */
    return online > 0 ? (unsigned)online : 1;
}
