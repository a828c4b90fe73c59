/*
 * version - asks each module that knows a library for the library's version.
 */
#include "version.h"

#include <uv.h>

#include "admin.h"
#include "config/reader.h"
#include "front/endpoint.h"
#include "front/h3.h"
#include "front/tls.h"
#include "protocol/message.h"

void version_print(FILE *to)
{
    char http[64];

    admin_library(http, sizeof(http));
    fprintf(to, "sluice %s\n", SLUICE_VERSION);
    fprintf(to, "  ngtcp2 %s\n", endpoint_library());
    fprintf(to, "  nghttp3 %s\n", h3_library());
    fprintf(to, "  %s\n", tls_library());
    fprintf(to, "  libuv %s\n", uv_version_string());
    fprintf(to, "  msgpack-c %s\n", message_library());
    fprintf(to, "  %s\n", http);
    fprintf(to, "  libyaml %s\n", reader_library());
}
