/* The timing and error parameters of the simulated world, from a timing.json.  All times in seconds. */
#ifndef BACKCHANNEL_TESTS_WORLD_TIMING_H
#define BACKCHANNEL_TESTS_WORLD_TIMING_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <stddef.h>

struct timing_lognormal {
	double median;
	double sigma;
};

/* USD per million tokens, and tokens per second of audio. */
struct timing_prices {
	double text_in;
	double audio_in;
	double cached_in; /* either kind */
	double text_out;
	double audio_out;
	double user_audio_rate;
	double assistant_audio_rate;
};

struct timing {
	/* word_duration */
	double word_a;        /* seconds per word */
	double word_b;        /* seconds per letter */
	double speaker_sigma; /* of the speaker's factor, lognormal around 1 */
	/* providers.<profile> */
	struct timing_lognormal final_first_audio;
	struct timing_lognormal call_pass;
	double args_tokens_per_s;
	/* tools.fast, typical, slow */
	struct timing_lognormal tool_fast;
	struct timing_lognormal tool_typical;
	struct timing_lognormal tool_slow;
	/* network_rtt; half of it is one way */
	double rtt_client;
	double rtt_provider;
	double rtt_tool;
	double vad_silence;
	double reply_gap; /* between the answer's end and the caller's next word */
	double asr_lag;   /* from a word's end to its transcript delta */
	/* rates, 0 to 1 */
	double early_call_wrong;
	double premature_guess;
	double pass_disagrees;
	double repair_rate;
	double eagerness; /* calls the profile's model makes unasked before the last word */
	struct timing_prices prices;
	char sha256[65]; /* of the file, in hexadecimal */
};

/*
 * Load a file for one provider profile, e.g. "gpt-realtime".  BC_E_SYSTEM: cannot be read; BC_E_SYNTAX;
 * BC_E_NOTFOUND: no such profile; BC_E_INVALID: a parameter is missing.  error (size bytes) says which.
 */
enum bc_err timing_load(const char *path, const char *profile, struct timing *ret, char *error,
			size_t size) BC_MUST;

#endif
