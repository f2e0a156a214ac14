#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "tests/caller/crowd.h"

#include "daemon/base/buf.h"
#include "tests/caller/url.h"

#define CROWD_MAGIC  0x63726f77U
#define PLAYER_MAGIC 0x706c6179U
#define INPUT_MAX    ((size_t)1 << 20) /* bytes of commands not yet read line by line */

struct crowd;

struct player {
	TAILQ_ENTRY(player) link;
	uint32_t magic;
	struct crowd *crowd;
	json_int_t id;
	struct url url;
	struct call *call;
	ev_timer reaper; /* frees the player from outside its call's callbacks */
};

TAILQ_HEAD(player_list, player);

struct crowd {
	uint32_t magic;
	struct ev_loop *loop;
	const struct call_conf *conf;
	const struct dialogue_set *set;
	ev_io input;
	struct bc_buf lines;
	bool closed; /* no more commands */
	bool broken;
	struct player_list players;
	size_t players_n;
};

static void leave_when_done(struct crowd *crowd)
{
	if (crowd->broken || (crowd->closed && TAILQ_EMPTY(&crowd->players))) {
		ev_break(crowd->loop, EVBREAK_ALL);
	}
}

static void say(struct crowd *crowd, json_t *line)
{
	if (json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15)) != 0 ||
	    fputc('\n', stdout) == EOF || fflush(stdout) != 0) {
		crowd->broken = true;
	}
	json_decref(line);
}

static void say_ended(struct player *player)
{
	json_t *call = player->call == NULL ? json_null() : call_timeline(player->call);

	say(player->crowd,
	    json_pack("{s:I, s:s, s:b, s:o}", "id", player->id, "event", "ended", "well",
		      player->call != NULL && call_went_well(player->call), "call", call));
}

static void on_opened(void *arg)
{
	struct player *player = arg;

	BC_CHECK(player, PLAYER_MAGIC);
	say(player->crowd, json_pack("{s:I, s:s}", "id", player->id, "event", "opened"));
}

static void player_free(struct player *player)
{
	struct crowd *crowd = player->crowd;

	TAILQ_REMOVE(&crowd->players, player, link);
	crowd->players_n--;
	ev_timer_stop(crowd->loop, &player->reaper);
	player->magic = 0;
	(void)call_free(player->call);
	free(player);
}

static void on_reap(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct player *player = timer->data;
	struct crowd *crowd = player->crowd;

	BC_CHECK(player, PLAYER_MAGIC);
	(void)loop;
	(void)events;
	say_ended(player);
	player_free(player);
	leave_when_done(crowd);
}

static void on_ended(void *arg)
{
	struct player *player = arg;

	BC_CHECK(player, PLAYER_MAGIC);
	ev_timer_start(player->crowd->loop, &player->reaper);
}

/* The call a command asks for; NULL: there is none to make. */
static struct call *call_begin(struct crowd *crowd, const json_t *command, struct player *player)
{
	const char *url = json_string_value(json_object_get(command, "url"));
	const char *id = json_string_value(json_object_get(command, "dialogue"));
	json_t *alone = json_object_get(command, "alone");
	struct call_conf conf = *crowd->conf;
	struct call *call = NULL;

	conf.dialogue = dialogue_find(crowd->set, bc_span_str(id));
	if (url == NULL || id == NULL || conf.dialogue == NULL || crowd->players_n > CROWD_MAX ||
	    !url_parse(url, &player->url)) {
		return NULL;
	}
	conf.alone = json_is_integer(alone) ? (int)json_integer_value(alone) : CALL_WHOLE;
	conf.wire.host = player->url.host;
	conf.wire.port = player->url.port;
	conf.wire.target = player->url.target;
	conf.wire.tls = player->url.tls ? conf.wire.tls : NULL;
	conf.opened = on_opened;
	conf.ended = on_ended;
	conf.arg = player;
	return call_new(crowd->loop, &conf, &call) == BC_OK ? call : NULL;
}

static void obey(struct crowd *crowd, struct bc_span line)
{
	json_t *command = json_loadb(line.ptr, line.len, 0, NULL);
	struct player *player = calloc(1, sizeof(*player));

	if (player == NULL || !json_is_object(command)) {
		(void)fprintf(stderr, "caller: a line of input is no command\n");
		crowd->broken = true;
		json_decref(command);
		free(player);
		return;
	}
	player->magic = PLAYER_MAGIC;
	player->crowd = crowd;
	player->id = json_integer_value(json_object_get(command, "id"));
	ev_timer_init(&player->reaper, on_reap, 0., 0.);
	player->reaper.data = player;
	TAILQ_INSERT_TAIL(&crowd->players, player, link);
	crowd->players_n++;
	player->call = call_begin(crowd, command, player);
	if (player->call == NULL) {
		ev_timer_start(crowd->loop, &player->reaper);
	}
	json_decref(command);
}

static void obey_lines(struct crowd *crowd)
{
	for (;;) {
		struct bc_span all = bc_buf_span(&crowd->lines);
		const char *end = all.len == 0 ? NULL : memchr(all.ptr, '\n', all.len);
		size_t len = end == NULL ? 0 : (size_t)(end - all.ptr);

		if (end == NULL) {
			return;
		}
		obey(crowd, bc_span(all.ptr, len));
		bc_buf_consume(&crowd->lines, len + 1);
	}
}

static void on_input(struct ev_loop *loop, ev_io *input, int events)
{
	struct crowd *crowd = input->data;
	char bytes[4096];
	ssize_t n = read(input->fd, bytes, sizeof(bytes));

	BC_CHECK(crowd, CROWD_MAGIC);
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		crowd->closed = true;
		ev_io_stop(loop, input);
	} else if (bc_buf_put(&crowd->lines, bytes, (size_t)n) != BC_OK) {
		crowd->broken = true;
	} else {
		obey_lines(crowd);
	}
	leave_when_done(crowd);
}

int crowd_run(struct ev_loop *loop, const struct call_conf *conf, const struct dialogue_set *set)
{
	struct crowd crowd = {.magic = CROWD_MAGIC, .loop = loop, .conf = conf, .set = set};

	TAILQ_INIT(&crowd.players);
	bc_buf_init(&crowd.lines, INPUT_MAX);
	ev_io_init(&crowd.input, on_input, STDIN_FILENO, EV_READ);
	crowd.input.data = &crowd;
	ev_io_start(loop, &crowd.input);
	ev_run(loop, 0);
	ev_io_stop(loop, &crowd.input);
	bc_buf_release(&crowd.lines);
	return crowd.broken ? 1 : 0;
}
