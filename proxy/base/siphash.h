/*
 * siphash - SipHash-2-4, a keyed hash for tables whose keys a peer chooses.
 *
 * Without the key nobody can choose keys that fall into one bucket. For uthash, define before
 * including it, and have a `hash_key` in scope wherever the table is searched or added to:
 *
 *     #define HASH_FUNCTION(key, len, value) ((value) = (unsigned)siphash(hash_key, key, len))
 */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint8_t key[16], const void *data, size_t len);

#endif
