#include "daemon/recorder.h"

#include "daemon/base/digest.h"
#include "daemon/base/id.h"
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define RECORDER_MAGIC  0x72636472u
#define RECORDING_MAGIC 0x7265636fu
#define CONFIG_MAX      ((size_t)16 << 20)

enum order {
	ORDER_OPEN,
	ORDER_LINE,
	ORDER_END
};

/* Something for the thread to do; lines carry their bytes behind it. */
struct block {
	STAILQ_ENTRY(block) link;
	struct recording *recording;
	enum order order;
	size_t len;
	char bytes[];
};

STAILQ_HEAD(blocks, block);

struct recording {
	uint32_t magic;
	struct recorder *recorder;
	struct cfg *cfg; /* counted */
	char *session;
	bc_usec wall;
	/* Orders that must not fail for want of memory. */
	struct block *open;
	struct block *end;
	bool ended;      /* owner's: the end is queued */
	const char *why; /* written before the end is queued, read after */
	bool released;   /* under lock: the owner has let go */
	bool closed;     /* under lock: the thread has seen the end */
	/* The thread's. */
	int fd; /* -1: not open, or given up */
	size_t written;
};

struct recorder {
	uint32_t magic;
	size_t queue_max;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct blocks queue;
	size_t queued; /* bytes of lines that are queued or being written */
	bool stopping;
	bool running; /* the thread has been started */
	pthread_t thread;
};

/* ---- the thread ---- */

static void recording_free(struct recording *recording)
{
	cfg_unref(recording->cfg);
	free(recording->session);
	free(recording->open);
	free(recording->end);
	recording->magic = 0;
	free(recording);
}

static void give_up(struct recording *recording, const char *what)
{
	bc_metric_inc(BC_M_RECORDINGS_FAILED);
	bc_log(BC_LOG_ERR, NULL, "session %s: cannot %s its recording in %s: %s, going on without",
	       recording->session, what, recording->cfg->session.record, strerrordesc_np(errno));
	if (recording->fd >= 0) {
		close(recording->fd);
		recording->fd = -1;
	}
}

static void write_all(struct recording *recording, struct bc_span text)
{
	while (text.len > 0 && recording->fd >= 0) {
		ssize_t put = write(recording->fd, text.ptr, text.len);

		if (put < 0 && errno != EINTR) {
			give_up(recording, "write");
		} else if (put > 0) {
			recording->written += (size_t)put;
			text = bc_span(text.ptr + put, text.len - (size_t)put);
		}
	}
}

static void close_with(struct recording *recording, const char *why)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "{\"end\":\"%s\"}\n", why);

	write_all(recording, bc_span(text, (size_t)len));
	if (recording->fd >= 0 && close(recording->fd) != 0) {
		recording->fd = -1;
		give_up(recording, "end");
	}
	recording->fd = -1;
	bc_metric_add(BC_M_RECORDINGS_CUT, strcmp(why, "session") != 0);
}

static void put_config(const struct recording *recording, char hex[2 * BC_SHA256_SIZE + 1])
{
	struct bc_sha256 digest;
	struct bc_buf text;

	hex[0] = '\0';
	bc_buf_init(&text, CONFIG_MAX);
	if (cfg_print(recording->cfg, &text) == BC_OK) {
		digest = bc_sha256(bc_buf_span(&text));
		bc_hex(digest.bytes, sizeof(digest.bytes), hex);
	}
	bc_buf_release(&text);
}

static void open_file(struct recording *recording)
{
	char path[4096 + 64];
	char config[2 * BC_SHA256_SIZE + 1];
	char head[256];
	int len = snprintf(path, sizeof(path), "%s/%s.jsonl", recording->cfg->session.record,
			   recording->session);

	errno = ENAMETOOLONG;
	if (len > 0 && (size_t)len < sizeof(path)) {
		recording->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	if (recording->fd < 0) {
		give_up(recording, "make");
		return;
	}
	put_config(recording, config);
	len = snprintf(head, sizeof(head),
		       "{\"recording\":1,\"session\":\"%s\",\"config\":\"%s\",\"wall\":%" PRId64
		       "}\n",
		       recording->session, config, (int64_t)recording->wall);
	write_all(recording, bc_span(head, (size_t)len));
}

static void put_line(struct recording *recording, struct bc_span line)
{
	if (recording->fd >= 0 &&
	    recording->written + line.len > recording->cfg->session.record_max) {
		close_with(recording, "size");
	}
	write_all(recording, line);
}

static void obey(struct block *block)
{
	struct recording *recording = block->recording;

	BC_CHECK(recording, RECORDING_MAGIC);
	switch (block->order) {
	case ORDER_OPEN:
		open_file(recording);
		break;
	case ORDER_LINE:
		put_line(recording, bc_span(block->bytes, block->len));
		break;
	case ORDER_END:
		if (recording->fd >= 0) {
			close_with(recording, recording->why);
		}
		break;
	}
}

/* Under lock: what the order has used is free again. */
static void retire(struct recorder *recorder, struct block *block)
{
	struct recording *recording = block->recording;

	switch (block->order) {
	case ORDER_OPEN:
		break;
	case ORDER_LINE:
		recorder->queued -= block->len;
		free(block);
		break;
	case ORDER_END:
		recording->closed = true;
		if (recording->released) {
			recording_free(recording);
		}
		break;
	}
}

static void *recorder_main(void *arg)
{
	struct recorder *recorder = arg;
	struct block *block;

	BC_CHECK(recorder, RECORDER_MAGIC);
	(void)pthread_setname_np(pthread_self(), "recorder"); /* only for those who look */
	(void)pthread_mutex_lock(&recorder->lock);
	for (;;) {
		block = STAILQ_FIRST(&recorder->queue);
		if (block == NULL && recorder->stopping) {
			break;
		}
		if (block == NULL) {
			(void)pthread_cond_wait(&recorder->work, &recorder->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&recorder->queue, link);
		(void)pthread_mutex_unlock(&recorder->lock);
		obey(block);
		(void)pthread_mutex_lock(&recorder->lock);
		retire(recorder, block);
	}
	(void)pthread_mutex_unlock(&recorder->lock);
	return NULL;
}

/* ---- life ---- */

struct recorder *recorder_new(size_t queue_max)
{
	struct recorder *recorder = calloc(1, sizeof(*recorder));

	if (recorder == NULL) {
		return NULL;
	}
	recorder->magic = RECORDER_MAGIC;
	recorder->queue_max = queue_max;
	STAILQ_INIT(&recorder->queue);
	(void)pthread_mutex_init(&recorder->lock,
				 NULL); /* with default attributes both cannot fail */
	(void)pthread_cond_init(&recorder->work, NULL);
	return recorder;
}

struct recorder *recorder_free(struct recorder *recorder)
{
	if (recorder == NULL) {
		return NULL;
	}
	BC_CHECK(recorder, RECORDER_MAGIC);
	(void)pthread_mutex_lock(&recorder->lock);
	recorder->stopping = true;
	(void)pthread_cond_signal(&recorder->work);
	(void)pthread_mutex_unlock(&recorder->lock);
	if (recorder->running) {
		(void)pthread_join(recorder->thread, NULL); /* fails only for a thread not ours */
	}
	(void)pthread_cond_destroy(&recorder->work);
	(void)pthread_mutex_destroy(&recorder->lock);
	recorder->magic = 0;
	free(recorder);
	return NULL;
}

/* ---- the sessions' side ---- */

/* Under lock. */
static void queue(struct recorder *recorder, struct block *block)
{
	STAILQ_INSERT_TAIL(&recorder->queue, block, link);
	(void)pthread_cond_signal(&recorder->work);
}

static struct block *block_new(struct recording *recording, enum order order, struct bc_span text)
{
	struct block *block = malloc(sizeof(*block) + text.len);

	if (block != NULL) {
		block->recording = recording;
		block->order = order;
		block->len = text.len;
		memcpy(block->bytes, text.len == 0 ? "" : text.ptr, text.len);
	}
	return block;
}

static struct recording *recording_new(struct recorder *recorder, struct cfg *cfg,
				       const char *session, bc_usec wall)
{
	struct recording *recording = calloc(1, sizeof(*recording));

	if (recording == NULL) {
		return NULL;
	}
	*recording = (struct recording){.magic = RECORDING_MAGIC,
					.recorder = recorder,
					.cfg = cfg_ref(cfg),
					.session = strdup(session),
					.wall = wall,
					.open = block_new(recording, ORDER_OPEN, BC_SPAN_LIT("")),
					.end = block_new(recording, ORDER_END, BC_SPAN_LIT("")),
					.fd = -1};
	if (recording->session == NULL || recording->open == NULL || recording->end == NULL) {
		recording_free(recording);
		return NULL;
	}
	return recording;
}

struct recording *recording_begin(struct recorder *recorder, struct cfg *cfg, const char *session,
				  bc_usec wall)
{
	struct recording *recording = recording_new(recorder, cfg, session, wall);
	bool running;

	if (recording == NULL) {
		bc_metric_inc(BC_M_RECORDINGS_FAILED);
		return NULL;
	}
	(void)pthread_mutex_lock(&recorder->lock);
	if (!recorder->running) {
		recorder->running =
			pthread_create(&recorder->thread, NULL, recorder_main, recorder) == 0;
	}
	running = recorder->running;
	if (running) {
		queue(recorder, recording->open);
	}
	(void)pthread_mutex_unlock(&recorder->lock);
	if (!running) {
		recording_free(recording);
		bc_metric_inc(BC_M_RECORDINGS_FAILED);
		return NULL;
	}
	bc_metric_inc(BC_M_RECORDINGS);
	return recording;
}

/* Under lock. */
static void end_with(struct recording *recording, const char *why)
{
	if (!recording->ended) {
		recording->ended = true;
		recording->why = why;
		queue(recording->recorder, recording->end);
	}
}

void recording_line(struct recording *recording, struct bc_span line)
{
	struct recorder *recorder;
	struct block *block = NULL;

	BC_CHECK(recording, RECORDING_MAGIC);
	recorder = recording->recorder;
	if (recording->ended) {
		return;
	}
	if (line.ptr != NULL) {
		block = block_new(recording, ORDER_LINE, line);
	}
	(void)pthread_mutex_lock(&recorder->lock);
	if (block == NULL) {
		end_with(recording, "memory");
	} else if (recorder->queued + line.len > recorder->queue_max) {
		end_with(recording, "queue_full");
		free(block);
	} else {
		recorder->queued += line.len;
		queue(recorder, block);
	}
	(void)pthread_mutex_unlock(&recorder->lock);
}

struct recording *recording_end(struct recording *recording)
{
	struct recorder *recorder;

	if (recording == NULL) {
		return NULL;
	}
	BC_CHECK(recording, RECORDING_MAGIC);
	recorder = recording->recorder;
	(void)pthread_mutex_lock(&recorder->lock);
	end_with(recording, "session");
	recording->released = true;
	if (recording->closed) {
		recording_free(recording);
	}
	(void)pthread_mutex_unlock(&recorder->lock);
	return NULL;
}
