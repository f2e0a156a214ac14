/*
 * What was noticed of each upstream and model, shared by all sessions and kept over restarts in a file beside the journal.
 * Any thread; the file is read and written by the main thread alone.
 */
#ifndef BACKCHANNEL_UPSTREAMS_H
#define BACKCHANNEL_UPSTREAMS_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/config/config.h"
#include "daemon/config/traits.h"

#define UPSTREAMS_MAX \
	64 /* pairs of upstream and model; the one that nothing was noticed of for longest goes */
#define UPSTREAMS_MODEL_MAX 65 /* bytes of a model's name with NUL; longer ones are cut */

struct upstreams;

/*
 * journal: path of the journal, the file's is that and ".upstreams"; NULL: nothing is kept.  A file that cannot be read is
 * taken for none, which the log says.  NULL when out of memory.
 */
struct upstreams *upstreams_new(const char *journal);

/* Writes what is not written yet.  Accepts NULL, returns NULL. */
struct upstreams *upstreams_free(struct upstreams *upstreams);

/* The model that a query asks for; "-" where it names none. */
void upstreams_model(const char *query, char out[UPSTREAMS_MODEL_MAX]);

/* What is known and not older than relearn_after; wall is wall-clock time. */
void upstreams_known(struct upstreams *upstreams, const char *name, const char *model,
		     bc_usec relearn_after, bc_usec wall, struct trait_set *ret);

/* A sample of a median may make another trait known that follows from it. */
void upstreams_notice(struct upstreams *upstreams, const char *name, const char *model,
		      enum trait trait, int32_t value, bc_usec wall);

/* Forget what was noticed of an upstream with all its models; returns how many these were. */
unsigned upstreams_forget(struct upstreams *upstreams, const char *name);

/* Append a line per upstream and model; errors of bc_buf_put(). */
enum bc_err upstreams_show(struct upstreams *upstreams, const struct cfg *cfg, bc_usec wall,
			   struct bc_buf *out) BC_MUST;

/* Write the file if something has changed. */
void upstreams_save(struct upstreams *upstreams);

#endif
