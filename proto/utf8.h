/* Step-wise UTF-8 check, for text that arrives in fragments.  Source: RFC 3629 section 4. */
#ifndef BACKCHANNEL_PROTO_UTF8_H
#define BACKCHANNEL_PROTO_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_START 0U         /* between two characters: what has been seen is well-formed */
#define UTF8_BAD   UINT32_MAX /* ill-formed; stays so */

/* State after len more bytes. */
uint32_t utf8_feed(uint32_t state, const uint8_t *bytes, size_t len);

/* Bytes of the longest well-formed prefix that ends between two characters. */
size_t utf8_prefix(const uint8_t *bytes, size_t len);

#endif
