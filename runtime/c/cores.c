/* The processors that this process may run on, and which of them are fast. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "support.h"

enum { FAST_PERCENT = 60 }; /* of the fastest one's capacity: a middle core is fast, a little core is not */

unsigned espalier_cores(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        return (unsigned)CPU_COUNT(&allowed);
    const long online = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than the set has room for */
    return online > 0 ? (unsigned)online : 1;
}

/* A number that the system keeps for processor `cpu`; 0 where it keeps none. */
static long figure_of(unsigned cpu, const char *name)
{
    char path[96];
    long figure = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/%s", cpu, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%ld", &figure) != 1 || figure < 0)
        figure = 0;
    fclose(file);
    return figure;
}

/* How much processor `cpu` can do, in units that are alike for all of one machine. */
static long capacity_of(unsigned cpu)
{
    const long capacity = figure_of(cpu, "cpu_capacity"); /* Arm's, the largest of which is 1024 */
    return capacity > 0 ? capacity : figure_of(cpu, "cpufreq/cpuinfo_max_freq");
}

/* The set that `cpus` names: where the calling thread may run, if it names none. */
static bool set_of(const espalier_cpus *cpus, cpu_set_t *set)
{
    if (cpus->count == 0)
        return sched_getaffinity(0, sizeof *set, set) == 0;
    CPU_ZERO(set);
    for (unsigned cpu = 0; cpu < ESPALIER_CPUS; cpu++)
        if (cpus->bits[cpu / 64] >> cpu % 64 & 1)
            CPU_SET(cpu, set);
    return true;
}

unsigned espalier_fast_cores(const espalier_cpus *cpus)
{
    cpu_set_t set;
    if (!set_of(cpus, &set))
        return espalier_cores();
    long best = 0;
    for (unsigned cpu = 0; cpu < ESPALIER_CPUS; cpu++)
        if (CPU_ISSET(cpu, &set) && capacity_of(cpu) > best)
            best = capacity_of(cpu);
    unsigned fast = 0;
    for (unsigned cpu = 0; cpu < ESPALIER_CPUS; cpu++)
        fast += CPU_ISSET(cpu, &set) && capacity_of(cpu) * 100 >= best * FAST_PERCENT;
    return fast;
}

espalier_status espalier_cpus_of(const unsigned *numbers, size_t count, espalier_cpus *cpus, char *message)
{
    const long known = sysconf(_SC_NPROCESSORS_CONF);
    *cpus = (espalier_cpus){{0}, 0};
    for (size_t i = 0; i < count; i++) {
        const unsigned cpu = numbers[i];
        if (cpu >= ESPALIER_CPUS || (known > 0 && cpu >= (unsigned long)known))
            return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "there is no processor %u here; expected 0 to %ld",
                                 cpu, known - 1);
        cpus->count += !(cpus->bits[cpu / 64] >> cpu % 64 & 1);
        cpus->bits[cpu / 64] |= (uint64_t)1 << cpu % 64;
    }
    return ESPALIER_OK;
}

bool espalier_send_away(pid_t thread, espalier_cpus *home)
{
    cpu_set_t set;
    const int here = sched_getcpu();
    if (home->count == 0) {
        if (sched_getaffinity(thread, sizeof set, &set) != 0)
            return false;
        for (unsigned cpu = 0; cpu < ESPALIER_CPUS; cpu++)
            if (CPU_ISSET(cpu, &set))
                home->bits[cpu / 64] |= (uint64_t)1 << cpu % 64;
        home->count = (unsigned)CPU_COUNT(&set);
    }
    if (here < 0 || !set_of(home, &set))
        return false;
    CPU_CLR((unsigned)here, &set);
    return CPU_COUNT(&set) > 0 && sched_setaffinity(thread, sizeof set, &set) == 0;
}

bool espalier_pin(const espalier_cpus *cpus)
{
    cpu_set_t set;
    return cpus->count == 0 || (set_of(cpus, &set) && sched_setaffinity(0, sizeof set, &set) == 0);
}
