/*
 * page - the files of the demo page, which the build puts into the program (embed.py).
 */
#ifndef PAGE_PAGE_H
#define PAGE_PAGE_H

#include <stddef.h>

struct page_file {
    const char *path; /* "/demo.js"; index.html is "/" */
    const char *type; /* for Content-Type */
    const unsigned char *data;
    size_t len;
};

/* Ends with path NULL. */
extern const struct page_file page_files[];

#endif
