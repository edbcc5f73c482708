// Memory that is refused: malloc, calloc and realloc return NULL once, at the n-th call from an object whose path holds `LA_FAULT_IN`.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);

static __thread int inside = 0;
static volatile long armed = 0, count = 0;
static char wanted[256] = "";

void la_fault_arm(const char* name, long n) {
    strncpy(wanted, name, sizeof(wanted) - 1);
    count = 0;
    armed = n;
}

long la_fault_count(void) { armed = 0; return count; }

static int refused(void* caller) {
    if (!armed || inside) return 0;
    Dl_info info;
    inside = 1;
    int found = dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, wanted);
    inside = 0;
    if (!found) return 0;
    long now = __sync_add_and_fetch(&count, 1);
    if (now != armed) return 0;
    errno = ENOMEM;
    return 1;
}

void* malloc(size_t size) { return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
void* calloc(size_t n, size_t size) { return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size); }
void* realloc(void* old, size_t size) { return refused(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size); }
