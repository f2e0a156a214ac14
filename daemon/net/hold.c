#include "daemon/net/hold.h"

#include "daemon/net/hello.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * How a hello is waited for that comes in pieces: what was peeked at stays in the kernel and keeps the socket
 * readable, so the watcher would turn the loop without end.  SO_RCVLOWAT makes the socket readable only when as many
 * bytes are there as the records announce (poll and epoll of Linux heed it for TCP), so one that sends its hello byte
 * by byte wakes us three times.  A timer would wake us again and again, and late.
 */
static bool wait_for(struct net_hold *hold, size_t bytes)
{
	int mark = (int)bytes;

	if (setsockopt(hold->fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark)) != 0) {
		return false;
	}
	hold->wanted = bytes;
	return true;
}

static void line_up(struct net_hold *hold)
{
	struct net_holds *holds = hold->holds;

	hold->watch = loop_io_free(hold->watch);
	TAILQ_INSERT_TAIL(&holds->ready, hold, place);
	if (!loop_timer_is_active(holds->turn)) {
		loop_timer_start(holds->turn, 0);
	}
}

static void on_readable(void *arg, unsigned events)
{
	struct net_hold *hold = arg;
	char bytes[NET_HELLO_MAX];
	ssize_t came;
	size_t wanted;

	(void)events;
	BC_CHECK(hold->holds, NET_HOLD_MAGIC);
	came = recv(hold->fd, bytes, sizeof(bytes), MSG_PEEK);
	if (came < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (came <= 0) {
		const struct net_hold_ops *ops = hold->ops;

		net_hold_end(hold);
		ops->gone(hold->arg);
		return;
	}
	wanted = net_hello_wanted(bc_span(bytes, (size_t)came));
	/*
	 * Fewer bytes than were waited for: the client has ended its stream, or the kernel is short of memory for it.
	 * More would not wake us, so whoever does the handshake sees for himself.
	 */
	if (wanted == 0 || (size_t)came < hold->wanted || !wait_for(hold, wanted)) {
		line_up(hold);
	}
}

static void on_turn(void *arg)
{
	struct net_holds *holds = arg;
	struct net_hold *hold;
	int i;

	BC_CHECK(holds, NET_HOLD_MAGIC);
	for (i = 0; i < NET_HOLD_TURN && (hold = TAILQ_FIRST(&holds->ready)) != NULL; i++) {
		const struct net_hold_ops *ops = hold->ops;

		net_hold_end(hold);
		ops->go(hold->arg);
	}
	if (!TAILQ_EMPTY(&holds->ready)) {
		net_ration_put_off(holds->ration);
		loop_timer_start(holds->turn, 0);
	}
}

enum bc_err net_holds_init(struct net_holds *holds, struct loop *loop, struct net_ration *ration)
{
	*holds = (struct net_holds){.magic = NET_HOLD_MAGIC, .loop = loop, .ration = ration};
	TAILQ_INIT(&holds->ready);
	holds->turn = loop_timer_new(loop, on_turn, holds);
	return holds->turn == NULL ? BC_E_NOMEM : BC_OK;
}

void net_holds_release(struct net_holds *holds)
{
	BC_BUG_ON(holds->turn != NULL && !TAILQ_EMPTY(&holds->ready));
	holds->turn = loop_timer_free(holds->turn);
	holds->magic = 0;
}

enum bc_err net_hold_begin(struct net_hold *hold, struct net_holds *holds, int fd,
			   const struct net_hold_ops *ops, void *arg)
{
	struct loop_io *watch = loop_io_new(holds->loop, fd, on_readable, hold);

	BC_CHECK(holds, NET_HOLD_MAGIC);
	if (watch == NULL) {
		return BC_E_NOMEM;
	}
	*hold = (struct net_hold){holds, ops, arg, fd, 0, watch, {NULL, NULL}};
	loop_io_set(watch, LOOP_READ);
	return BC_OK;
}

void net_hold_end(struct net_hold *hold)
{
	if (hold->holds == NULL) {
		return;
	}
	if (hold->watch == NULL) {
		TAILQ_REMOVE(&hold->holds->ready, hold, place);
	}
	hold->watch = loop_io_free(hold->watch);
	hold->holds = NULL;
	/* The handshake's later flights may be shorter than the hello.  Cannot fail where it once succeeded. */
	if (hold->wanted > 0) {
		(void)wait_for(hold, 1);
	}
}
