/* Large pieces of memory on pages of 2 MiB, where the system gives them to whoever asks.
 *
 * A product of large matrices reads lines that are rows apart, each on a page of its own: with pages of 4 KiB it waits for translations,
 * most of all in a virtual machine, where each takes two walks through tables (README.md). */
#ifndef LA_PAGES_H
#define LA_PAGES_H

#include <stddef.h>

#define LA_PAGE ((size_t)1 << 21)

#if defined(__linux__)
#include <sys/mman.h>
#endif

/* The bytes of such pages that a piece of this size is worth: all but a tail that is less than half of one. */
static size_t la_paged(size_t size)
{
    return (size + LA_PAGE / 2) / LA_PAGE * LA_PAGE;
}

/* Before the `la_paged` bytes from `at` on, which begin such a page, are touched. */
static void la_use_pages(void *at, size_t paged)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (paged)
        madvise(at, paged, MADV_HUGEPAGE); /* where there are none, it is as it was */
#endif
    (void)at;
    (void)paged;
}

#endif
