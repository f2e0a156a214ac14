/*
 * Tool calls over the real journal, the real HTTP client and a small tool server on a thread of its own.  One world per
 * process: Check forks for every test.
 */
#ifndef BACKCHANNEL_TESTS_RUN_RIG_H
#define BACKCHANNEL_TESTS_RUN_RIG_H

#include "daemon/config/config.h"
#include "daemon/journal/journal.h"
#include "daemon/tools/tool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What the server does and saw; under the mutex. */
struct rig_server {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool released;           /* requests for /hold may be answered */
	unsigned fail_first;     /* so many requests for /flaky fail */
	unsigned fail_status;    /* with this status; 0: the connection is cut */
	const char *retry_after; /* header of a 429 */
	const char *tell;        /* answers to /tell/...; NULL: the connection is cut */
	unsigned tell_after;     /* so many questions get a 404 first */
	unsigned questions;      /* requests for /tell/... */
	char question[256];      /* path of the last one, and its Idempotency-Key header */
	unsigned requests;       /* all others */
	char paths[512];         /* of those, a space behind each */
	unsigned other_keys;     /* requests whose key was not that of the one before */
	int64_t intents;         /* rows in the journal when the last request came */
	char key[64];
	char agent[64];
	char type[64];
	char body[1024];
};

struct rig_world {
	char dir[64];
	char path[96];
	char url[128];
	char status_url[128];
	char undo_url[128];
	struct MHD_Daemon *daemon;
	struct loop *loop;
	struct loop_timer *limit;
	struct loop_timer *tick;
	struct jrn *jrn;
	struct jrn_port *port;
	struct net_http *http;
	struct tool_host *host;
	const char *session; /* id of the session whose calls these are */
	struct cfg_tools common;
	struct cfg_tool tool;
	struct cfg cfg;    /* of that tool alone; for orphans */
	unsigned opens;    /* what recovery reported */
	uint64_t resolved; /* last intent a host was told of */
	unsigned done;     /* results reported */
	unsigned wanted;   /* stop at this many */
	bool inside_run;   /* tool_run() is on the stack */
	int64_t results;   /* rows in the journal when the last result was reported */
	enum tool_outcome outcome;
	int status;
	char output[4096];
};

extern struct rig_server server;
extern struct rig_world world;

/* A server, a journal, a host, and the tool "order", a read that is tried once. */
void rig_setup(void);
void rig_teardown(void);

/* Another journal; the host must be made anew.  Closed, everything that was recorded is in the file. */
void rig_open_journal(uint64_t open_max);
void rig_close_journal(void);

/* As after a crash of the daemon: calls and journal are gone, and there are new ones on the same file. */
void rig_restart(void);

/* The tool's undo goes to this path of the server. */
void rig_undo_at(const char *path);

/* One number from the journal's file, as another process would read it; -1: there is none. */
int64_t rig_query(const char *sql);

/* Whether exactly one row of "table WHERE column" holds this text. */
bool rig_holds(const char *sql, const char *text);

/* The tool's request goes to this path of the server; its status request asks this. */
void rig_serve_at(const char *path);
void rig_ask_at(const char *path);
void rig_release_server(void);
unsigned rig_requests_seen(void);

struct tool_request rig_request_of(const char *arguments);
struct tool_call *rig_run(const char *arguments);

/* Run the loop until so many results were reported in all; or until the condition holds. */
void rig_wait_done(unsigned wanted);
typedef bool rig_condition_fn(void);
void rig_wait_until(rig_condition_fn *condition);
bool rig_no_call_left(void);
bool rig_one_request_seen(void);

/* Run one call to its settlement, and look at what was recorded. */
void rig_run_through(enum cfg_effect effect, const char *path, const char *settlement);

/* Type of the error the last call gave, with ", retryable" behind it if it says so; valid until the next call. */
const char *rig_error_type(void);

#endif
