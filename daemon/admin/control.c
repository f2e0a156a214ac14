#include "daemon/admin/control.h"

#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_MAGIC 0x636f6e74u
#define REQUEST_MAGIC 0x61736b73u
#define REQUEST_TIMEOUT \
	(10 * BC_USEC_PER_SEC) /* for the line to come and for the answer to be taken */

#define ACCEPT_PAUSE (100 * BC_USEC_PER_MS) /* after accept() failed */

/* One connection: its line comes in, its answer goes out. */
struct adm_request {
	LIST_ENTRY(adm_request) entry;
	uint32_t magic;
	struct adm_control *control; /* NULL: it has gone before the answer came */
	int fd;
	struct loop_io *io;
	struct loop_timer *timer;
	struct bc_buf line;
	struct bc_buf answer;
	bool asked;    /* handed to the owner */
	bool answered; /* the answer is being sent */
	bool gone;     /* the peer has gone before the answer came */
};

LIST_HEAD(request_list, adm_request);

struct adm_control {
	uint32_t magic;
	struct loop *loop;
	int fd;
	struct loop_io *io;
	struct loop_timer *rest; /* active: accept() has failed, and would fail again */
	char *path;
	adm_request_fn *fn;
	void *owner;
	struct request_list requests;
	unsigned count;
};

/* ---- connections ---- */

static void watch_listener(struct adm_control *control)
{
	bool wanted = control->count < ADM_REQUESTS_MAX && !loop_timer_is_active(control->rest);

	loop_io_set(control->io, wanted ? LOOP_READ : 0);
}

/* What is left when the connection is gone. */
static void remains_free(struct adm_request *request)
{
	bc_buf_release(&request->line);
	bc_buf_release(&request->answer);
	request->magic = 0;
	free(request);
}

static void request_close(struct adm_request *request)
{
	LIST_REMOVE(request, entry);
	request->control->count--;
	request->control = NULL;
	request->io = loop_io_free(request->io);
	request->timer = loop_timer_free(request->timer);
	close(request->fd);
}

static void request_free(struct adm_request *request)
{
	struct adm_control *control = request->control;

	request_close(request);
	remains_free(request);
	watch_listener(control);
}

/* The peer does not listen any more; the owner may still be at work on the answer. */
static void request_drop(struct adm_request *request)
{
	if (request->asked && !request->answered) {
		request->gone = true;
		loop_io_set(request->io, 0);
		loop_timer_stop(request->timer);
		return;
	}
	request_free(request);
}

static void write_answer(struct adm_request *request)
{
	struct bc_span rest = bc_buf_span(&request->answer);
	ssize_t sent = send(request->fd, rest.ptr, rest.len, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		request_free(request);
		return;
	}
	bc_buf_consume(&request->answer, sent < 0 ? 0 : (size_t)sent);
	if (bc_buf_len(&request->answer) == 0) {
		request_free(request);
	} else {
		loop_io_set(request->io, LOOP_WRITE);
	}
}

void adm_answer(struct adm_request *request, struct bc_span text)
{
	BC_CHECK(request, REQUEST_MAGIC);
	BC_BUG_ON(!request->asked || request->answered);
	request->answered = true;
	if (request->control == NULL) {
		remains_free(request);
		return;
	}
	if (request->gone ||
	    bc_buf_put(&request->answer, text.ptr,
		       text.len < ADM_ANSWER_MAX ? text.len : ADM_ANSWER_MAX) != BC_OK) {
		request_free(request);
		return;
	}
	loop_timer_start(request->timer, REQUEST_TIMEOUT);
	write_answer(request);
}

static void read_line(struct adm_request *request)
{
	char *room;
	char *end;
	ssize_t got;

	if (bc_buf_room(&request->line, 256, &room) != BC_OK) {
		request_drop(request); /* longer than any request */
		return;
	}
	got = recv(request->fd, room, 256, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (got <= 0) {
		request_drop(request);
		return;
	}
	bc_buf_grow(&request->line, (size_t)got);
	end = memchr(bc_buf_span(&request->line).ptr, '\n', bc_buf_len(&request->line));
	if (end != NULL && !request->asked) {
		request->asked = true;
		loop_io_set(request->io, 0);
		loop_timer_stop(request->timer);
		request->control->fn(request->control->owner, request,
				     bc_span(bc_buf_span(&request->line).ptr,
					     (size_t)(end - bc_buf_span(&request->line).ptr)));
	}
}

static void on_request(void *arg, unsigned events)
{
	struct adm_request *request = arg;

	BC_CHECK(request, REQUEST_MAGIC);
	if ((events & LOOP_WRITE) != 0) {
		write_answer(request);
	} else {
		read_line(request);
	}
}

static void on_timeout(void *arg)
{
	struct adm_request *request = arg;

	BC_CHECK(request, REQUEST_MAGIC);
	request_free(request); /* runs only while nothing is asked or everything is answered */
}

static void accept_one(struct adm_control *control, int fd)
{
	struct adm_request *request = calloc(1, sizeof(*request));

	if (request == NULL) {
		close(fd);
		return;
	}
	*request = (struct adm_request){.magic = REQUEST_MAGIC, .control = control, .fd = fd};
	bc_buf_init(&request->line, ADM_LINE_MAX);
	bc_buf_init(&request->answer, ADM_ANSWER_MAX);
	LIST_INSERT_HEAD(&control->requests, request, entry);
	control->count++;
	request->io = loop_io_new(control->loop, fd, on_request, request);
	request->timer = loop_timer_new(control->loop, on_timeout, request);
	if (request->io == NULL || request->timer == NULL) {
		request_free(request);
		return;
	}
	loop_io_set(request->io, LOOP_READ);
	loop_timer_start(request->timer, REQUEST_TIMEOUT);
	watch_listener(control);
}

static void on_listener(void *arg, unsigned events)
{
	struct adm_control *control = arg;
	int fd;

	BC_CHECK(control, CONTROL_MAGIC);
	(void)events;
	fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		accept_one(control, fd);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* Out of descriptors: whoever waits keeps the socket readable, and the loop would spin. */
		bc_metric_inc(BC_M_ACCEPTS_FAILED);
		loop_timer_start(control->rest, ACCEPT_PAUSE);
		watch_listener(control);
	}
}

static void on_rested(void *arg)
{
	struct adm_control *control = arg;

	BC_CHECK(control, CONTROL_MAGIC);
	watch_listener(control);
}

/* ---- the socket ---- */

static enum bc_err fail(struct bc_buf *message, enum bc_err err, const char *what, const char *path)
{
	const char *reason = strerrordesc_np(errno);

	return bc_buf_printf(message, "control socket %s: %s%s%s", path, what,
			     err == BC_E_SYSTEM ? ": " : "",
			     err == BC_E_SYSTEM ? reason : "") == BC_OK
		       ? err
		       : BC_E_NOMEM;
}

/*
 * Whether a daemon answers at the address; a socket nobody listens on is left over from one that is gone.  One whose queue
 * is full (EAGAIN) belongs to somebody, and is not waited for.
 */
static bool is_served(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool served =
		fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
			    errno == EAGAIN);

	if (fd >= 0) {
		close(fd);
	}
	return served;
}

/* Only a socket is ours to remove: a path set by mistake may be the journal's. */
static bool take_away(const char *path)
{
	struct stat info;

	if (lstat(path, &info) == 0 && !S_ISSOCK(info.st_mode)) {
		errno = EEXIST;
		return false;
	}
	return unlink(path) == 0 || errno == ENOENT;
}

static enum bc_err listen_at(struct adm_control *control, struct bc_buf *message)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(control->path);
	mode_t mask;
	int bound;

	if (len >= sizeof(address.sun_path)) {
		return fail(message, BC_E_INVALID, "path is too long", control->path);
	}
	memcpy(address.sun_path, control->path, len + 1);
	if (is_served(&address)) {
		return fail(message, BC_E_EXISTS, "another daemon answers there", control->path);
	}
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (control->fd < 0) {
		return fail(message, BC_E_SYSTEM, "cannot make a socket", control->path);
	}
	if (!take_away(control->path)) {
		return fail(message, BC_E_SYSTEM, "cannot remove what is there", control->path);
	}
	/* Nobody else may open it, not even between bind and chmod. */
	mask = umask(0177);
	bound = bind(control->fd, (const struct sockaddr *)&address, sizeof(address));
	(void)umask(mask); /* cannot fail */
	if (bound != 0 || listen(control->fd, ADM_REQUESTS_MAX) != 0) {
		return fail(message, BC_E_SYSTEM, "cannot listen", control->path);
	}
	return BC_OK;
}

enum bc_err adm_control_new(struct loop *loop, const char *path, adm_request_fn *fn, void *owner,
			    struct bc_buf *reterr_message, struct adm_control **ret)
{
	struct adm_control *control = calloc(1, sizeof(*control));
	enum bc_err err;

	if (control == NULL) {
		return BC_E_NOMEM;
	}
	*control = (struct adm_control){.magic = CONTROL_MAGIC,
					.loop = loop,
					.fd = -1,
					.fn = fn,
					.owner = owner,
					.path = strdup(path)};
	LIST_INIT(&control->requests);
	err = control->path == NULL ? BC_E_NOMEM : listen_at(control, reterr_message);
	if (err == BC_OK) {
		control->io = loop_io_new(loop, control->fd, on_listener, control);
		control->rest = loop_timer_new(loop, on_rested, control);
		err = control->io == NULL || control->rest == NULL ? BC_E_NOMEM : BC_OK;
	}
	if (err != BC_OK) {
		loop_io_free(control->io);
		loop_timer_free(control->rest);
		if (control->fd >= 0) {
			close(control->fd);
		}
		free(control->path);
		free(control);
		return err;
	}
	watch_listener(control);
	*ret = control;
	return BC_OK;
}

struct adm_control *adm_control_free(struct adm_control *control)
{
	if (control == NULL) {
		return NULL;
	}
	BC_CHECK(control, CONTROL_MAGIC);
	while (!LIST_EMPTY(&control->requests)) {
		struct adm_request *request = LIST_FIRST(&control->requests);

		if (request->asked && !request->answered) {
			request_close(request); /* the owner still has it; adm_answer() frees it */
		} else {
			request_free(request);
		}
	}
	loop_io_free(control->io);
	loop_timer_free(control->rest);
	close(control->fd);
	(void)unlink(control->path); /* the next daemon takes a left-over over */
	free(control->path);
	control->magic = 0;
	free(control);
	return NULL;
}
