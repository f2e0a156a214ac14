/* What was asked for on the command line; options.def has the options. */
#ifndef BACKCHANNEL_TESTS_PROVIDER_OPTIONS_H
#define BACKCHANNEL_TESTS_PROVIDER_OPTIONS_H

#include "tests/world/timing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTION_FILES_MAX 32

struct option_files {
	const char *names[OPTION_FILES_MAX];
	size_t n;
};

enum behaviour {
	BEHAVIOUR_PROMPTED,
	BEHAVIOUR_PROACTIVE,
	BEHAVIOUR_TURN_BASED
};

enum prepare {
	PREPARE_AGREE,   /* what the caller's agreement would determine */
	PREPARE_HISTORY, /* every call of the next turn whose arguments were known before it */
	PREPARE_NONE
};

/* Strings are those of argv.  A rate, lag or round trip below 0 was not given: options_complete() fills it. */
struct options {
	unsigned port;
	const char *cert;
	const char *key_file;
	const char *key; /* NULL: any */
	struct option_files dialogues;
	const char *script;
	bool tag_calls;
	const char *timing;
	const char *profile;
	uint64_t seed;
	double scale;
	double rtt; /* seconds, of the world, like all times here */
	double asr_lag;
	enum behaviour behaviour;
	bool clause; /* readiness rule: clause, else word */
	double eagerness;
	enum prepare prepare;
	double early_wrong;
	double premature;
	double disagree;
	double rival;
	double applies_repair;
	unsigned asides;
	double aside_cost;
	double cancel_delay;
	bool cancel_null_usage;
	bool cancel_late_create;
	bool queue_auto_create;
	bool truncate_on_interrupt;
	bool idle_needs_create;
	bool reset_vad;
	double detection_lag;
	bool text_after_text;
	bool reject_inline_audio;
	bool no_function_items;
	bool no_out_of_band;
	bool no_input;
	bool no_metadata;
	bool no_aside_calls;
	bool no_aside_cache;
	bool no_manual_commit;
	bool no_output_while_active;
	bool refuse_references;
	bool rename_call_ids;
	double call_age; /* 0: none is too old */
	bool anonymous_errors;
	unsigned refuse;     /* HTTP status; 0: none */
	unsigned drop_after; /* client events; 0: never */
	const char *drop_at; /* type of a server event */
	unsigned fail;       /* number of a response; 0: none */
	bool silent;         /* say session.created and nothing more */
	const char *log;
	const char *log_kinds; /* separated by commas; NULL: all */
};

/* Read a command line into defaults; false if it cannot be meant. */
bool options_parse(int argc, char **argv, struct options *ret);

/* Put the parameters of the timing file where none was given. */
void options_complete(struct options *options, const struct timing *timing);

const char *behaviour_name(enum behaviour behaviour);

/* Print what options there are. */
void options_help(void);

#endif
