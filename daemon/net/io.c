/* What the links of one worker share: the buffer for a read, the buffer for a write, randomness. */
#include "daemon/base/id.h"
#include "daemon/net/link_internal.h"

#include <signal.h>
#include <stdlib.h>

struct net_io *net_io_new(struct loop *loop)
{
	struct net_io *io = malloc(sizeof(*io));

	if (io == NULL) {
		return NULL;
	}
	io->magic = NET_IO_MAGIC;
	io->loop = loop;
	LIST_INIT(&io->links);
	io->owner = NULL;
	io->tx_len = 0;
	io->turns = 0;
	io->flush_queued = false;
	io->dying = false;
	io->random_used = NET_RANDOM_SIZE;
	/* OpenSSL writes with write(2): a peer that has gone must be an error, not the end of the process. */
	(void)signal(SIGPIPE, SIG_IGN);
	return io;
}

struct loop *net_io_loop(const struct net_io *io)
{
	return io->loop;
}

static void release(struct net_io *io)
{
	io->magic = 0;
	free(io);
}

struct net_io *net_io_free(struct net_io *io)
{
	struct net_link *link;

	if (io == NULL) {
		return NULL;
	}
	BC_CHECK(io, NET_IO_MAGIC);
	BC_BUG_ON(io->turns != 0);
	while ((link = LIST_FIRST(&io->links)) != NULL) {
		/* Only those may be left that their owners have freed. */
		BC_BUG_ON(!link->freed);
		net_link_destroy(link);
	}
	if (io->flush_queued) {
		io->dying = true;
		return NULL;
	}
	release(io);
	return NULL;
}

void net_io_mask_key(struct net_io *io, uint8_t key[4])
{
	if (io->random_used + 4 > NET_RANDOM_SIZE) {
		bc_random(io->random, NET_RANDOM_SIZE);
		io->random_used = 0;
	}
	memcpy(key, io->random + io->random_used, 4);
	io->random_used += 4;
}

void net_io_drop(struct net_io *io, const struct net_link *link)
{
	if (io->owner == link) {
		io->owner = NULL;
		io->tx_len = 0;
	}
}

void net_io_flush(struct net_io *io)
{
	struct net_link *link = io->owner;
	size_t len = io->tx_len;
	size_t sent;
	enum bc_err err;

	if (link == NULL) {
		return;
	}
	BC_CHECK(link, NET_LINK_MAGIC);
	BC_BUG_ON(bc_buf_len(&link->backlog) != 0); /* L4 */
	io->owner = NULL;
	io->tx_len = 0;
	if (link->broken) {
		return; /* L1 */
	}
	err = wire_write(&link->wire, io->tx, len, &sent);
	if (err == BC_E_AGAIN) {
		err = bc_buf_put(&link->backlog, io->tx + sent, len - sent);
		if (link->pong_in_tx) {
			link->pong_mark = bc_buf_len(&link->backlog);
		}
		net_link_watch(link);
	}
	link->pong_in_tx = false;
	if (err != BC_OK) {
		net_link_break(link, err);
	}
}

void net_io_enter(struct net_io *io)
{
	BC_CHECK(io, NET_IO_MAGIC);
	io->turns++;
}

void net_io_leave(struct net_io *io)
{
	io->turns--;
	if (io->turns == 0) {
		net_io_flush(io);
	}
}
