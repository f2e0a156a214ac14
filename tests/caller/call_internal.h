/* What the files of the caller share: a call, and what is written down of its turns. */
#ifndef BACKCHANNEL_TESTS_CALLER_CALL_INTERNAL_H
#define BACKCHANNEL_TESTS_CALLER_CALL_INTERNAL_H

#include "daemon/base/buf.h"
#include "tests/caller/call.h"
#include "tests/caller/watch.h"
#include "tests/world/speech.h"

#define CALL_MAGIC  0x63616c6cU
#define ANSWERS_MAX 12 /* responses of one turn written down; later ones are only watched */
#define ID_SIZE     72 /* longest response id kept, with NUL */

enum stage {
	CALL_CONNECTING, /* until session.updated */
	CALL_SPEAKING,
	CALL_LISTENING, /* until the answer has been played and the caller has drawn breath */
	CALL_CLOSING,
	CALL_ENDED
};

/* One response the caller saw; times are monotonic seconds, 0: not yet. */
struct answer {
	char id[ID_SIZE];
	double created;
	double first; /* first audio or text of it */
	double done;
	char status[24];    /* "" until done */
	struct bc_buf text; /* transcript, or the text */
};

/* What happened in one turn; times as above. */
struct turn_record {
	double began;        /* first frame of the turn sent */
	double ended;        /* last voiced frame sent; typed: the item sent */
	double late;         /* how long after its time that frame was sent */
	double first_commit; /* the provider took the turn as ended for the first time */
	double committed;    /* … and for the last time */
	double created;      /* first response.created after that */
	double first_audio;  /* of the answer */
	double answered;     /* response.done of the answer */
	double played;       /* end of the answer's play-out */
	unsigned commits;
	bool repair;          /* spoken in its self-corrected wording */
	bool replied;         /* the turn's reply was said */
	struct bc_buf heard;  /* transcript of the caller, as the provider has it */
	struct bc_buf answer; /* transcript of the answer */
	struct answer answers[ANSWERS_MAX];
	size_t answers_n;
};

struct call {
	uint32_t magic;
	struct call_conf conf;
	struct ev_loop *loop;
	struct wire *wire;
	struct watch *watch;
	ev_timer clock; /* one frame per tick */
	enum stage stage;
	double clock_began; /* when frame 0 was due */
	uint64_t frames;    /* sent so far */
	double stage_began;
	double started;
	struct speech speech; /* of the turn being spoken */
	size_t spoken;        /* frames of it already sent */
	size_t first;         /* first turn that is spoken */
	size_t end;           /* the turn behind the last one */
	size_t turn;
	struct turn_record *turns; /* one per turn of the dialogue */
	uint16_t close_code;
};

/* Seconds of the monotonic clock. */
double call_now(void);

/* ---- call.c ---- */

/* Send an event made by json_pack() (taken over). */
void call_send(struct call *call, json_t *event);

/* ---- history.c ---- */

/* The first event: what kind of session the caller wants. */
void history_session(struct call *call);

/* Put the turns before conf.alone into the conversation and ask for the answer to the last of them. */
void history_load(struct call *call);

/* Type a turn and ask for its answer. */
void history_type(struct call *call, size_t turn);

/* Ask for an answer. */
void history_ask(struct call *call);

/* ---- record.c ---- */

/* False when out of memory. */
bool record_init(struct call *call);
void record_release(struct call *call);

/* Note an event of the server in the turn it belongs to. */
void record_event(struct call *call, struct turn_record *turn, const json_t *event,
		  const char *type);

#endif
