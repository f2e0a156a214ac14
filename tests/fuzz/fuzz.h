/* What every fuzz target here defines, for libFuzzer and for replay.c. */
#ifndef BACKCHANNEL_TESTS_FUZZ_H
#define BACKCHANNEL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Run one input; aborts if a property does not hold.  Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
