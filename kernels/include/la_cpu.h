/* Which processor this is, as CPUID says it. */
#ifndef LA_CPU_H
#define LA_CPU_H

#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#include <cpuid.h>
#define LA_HAVE_CPUID 1
#endif

typedef struct {
    char vendor[13];
    int family, model;
    int fp16, amx;   /* vectors of half precision, and matrices in registers: Sapphire Rapids and what came after it */
} la_cpu;

static la_cpu la_cpu_of(void)
{
    la_cpu found;
    memset(&found, 0, sizeof found);
#ifdef LA_HAVE_CPUID
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d))
        return found;
    memcpy(found.vendor, &b, 4);
    memcpy(found.vendor + 4, &d, 4);
    memcpy(found.vendor + 8, &c, 4);
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        found.family = (a >> 8) & 15;
        found.model = (a >> 4) & 15;
        if (found.family == 6 || found.family == 15)
            found.model += (a >> 12) & 0xf0;
        if (found.family == 15)
            found.family += (a >> 20) & 255;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        found.fp16 = (d >> 23) & 1;
        found.amx = (d >> 24) & 1;
    }
#endif
    return found;
}

#endif
