/*
 * The HTTP face of the backend: one thread per connection, which sleeps for as long as the tool takes.
 *
 *   POST /d/<dialogue>/tools/<name>, POST /tools/<name>   a call; body: the arguments as JSON.  An argument "_sim", or
 *                                                         else a header X-Dialogue, names another dialogue
 *   GET, POST /status/<key>                               {"state":"done","result":...} or {"state":"not_done"}
 *   POST /control/hold, /control/release                  {"tool": name}: keep its answers back, let them go
 *                                                         (release without a tool: all)
 *   GET  /control/effects, GET /control/calls             what happened so far
 */
#ifndef BACKCHANNEL_TESTS_TOOLSERVER_SERVER_H
#define BACKCHANNEL_TESTS_TOOLSERVER_SERVER_H

#include "tests/toolserver/backend.h"

struct server;

/* Listen on 127.0.0.1; port 0: any free one.  The backend must outlive the server.  NULL: a line is on stderr. */
struct server *server_new(struct backend *backend, unsigned port);

/* The port really listened on. */
unsigned server_port(const struct server *server);

/* As POST /control/hold does.  Any thread.  BC_E_LIMIT: too many tools are held. */
enum bc_err server_hold(struct server *server, const char *tool) BC_MUST;

/* Answer what is held at once and stop.  Accepts NULL, returns NULL. */
struct server *server_free(struct server *server);

#endif
