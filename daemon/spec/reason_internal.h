/* What reason.c and generation.c share. */
#ifndef BACKCHANNEL_SPEC_REASON_INTERNAL_H
#define BACKCHANNEL_SPEC_REASON_INTERNAL_H

#include "daemon/spec/history.h"
#include "daemon/spec/reason.h"
#include "proto/chat/stream.h"

#define REASON_MAGIC 0x7265736eu

/* What the running generation has done. */
struct generation {
	struct chat_stream *stream;
	struct agent_parser *parser;
	struct bc_buf text; /* as it came */
	bool thinking;      /* its think was cut off */
	bool acted;         /* its action is complete */
	bool answer;        /* … and was an answer */
	bool decides;       /* it has brought the turn to its commit point */
	enum misstep misstep;
	struct bc_buf trouble; /* what the misstep was about */
	enum bc_err err;       /* the text could not be kept */
};

struct reason {
	uint32_t magic;
	enum reason_state state;
	struct reason_conf conf;
	const struct reason_ops *ops;
	void *arg;
	char *system;
	struct history history;
	struct plan plan;
	struct generation step;
	struct bc_buf news; /* events that are not in the history yet */
	bool wanted;        /* the history ends with something the model has not been given */
	bool final;         /* the turn's last words have come */
	bool final_news;    /* … and are among the news */
	bool heard_all;     /* … and are in the history: every step from here on knows them */
	bool committed;     /* the model has decided what the turn needs, knowing all its words */
	unsigned last_id;   /* the greatest that was issued before that */
	bool answered;      /* the model has nothing more to say about the turn */
	bool over;          /* … or nobody would use it */
	unsigned steps;
	unsigned restarts;
	uint64_t rev; /* of the last update */
	int64_t mark; /* of the last update */
	struct bc_buf said;
	char trouble[256];
};

/* Ready for a new generation; false: out of memory. */
bool generation_init(struct reason *reason);

/* Its stream is NULL then. */
void generation_release(struct generation *step);

/* Put what the model has said in the step, as far as it counts, into the history. */
void generation_remember(struct reason *reason);

#endif
