/*
 * steering - the BPF program that reads the worker from a connection id. See steering.h.
 *
 * Offset 0 is the first byte of the UDP payload. Whatever the program returns beyond the number of
 * sockets makes the kernel fall back to its hash.
 */
#include "front/steering.h"

#include <linux/filter.h>
#include <sys/socket.h>

#define SHORT_CID   1 /* offsets, RFC 9000 section 17 */
#define LONG_LENGTH 5
#define LONG_CID    6
#define BY_HASH     0xffffffff

bool steering_attach(int fd, const struct endpoint_config *config)
{
    uint8_t bytes[4];
    endpoint_cid_prefix(config, bytes);
    uint32_t prefix =
        (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    struct sock_filter code[] = {
        /* 0 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        /* 1 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 4, 0),
        /* a short header */
        /* 2 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SHORT_CID),
        /* 3 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, prefix, 0, 8),
        /* 4 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SHORT_CID + ENDPOINT_CID_WORKER),
        /* 5 */ BPF_STMT(BPF_RET | BPF_A, 0),
        /* a long header */
        /* 6 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, LONG_LENGTH),
        /* 7 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ENDPOINT_CID_LEN, 0, 4),
        /* 8 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LONG_CID),
        /* 9 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, prefix, 0, 2),
        /* 10 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, LONG_CID + ENDPOINT_CID_WORKER),
        /* 11 */ BPF_STMT(BPF_RET | BPF_A, 0),
        /* 12 */ BPF_STMT(BPF_RET | BPF_K, BY_HASH),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) == 0;
}
