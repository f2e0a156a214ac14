/* simprovider: a Realtime provider without a model, for tests and measurements.  127.0.0.1 only. */
#include "tests/provider/session.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static bool dialogues_load(struct provider *provider, char *error, size_t size)
{
	const struct option_files *files = &provider->options.dialogues;

	for (size_t i = 0; i < files->n; i++) {
		if (dialogue_set_load(&provider->dialogues, files->names[i], error, size) !=
		    BC_OK) {
			return false;
		}
	}
	return true;
}

static bool files_load(struct provider *provider)
{
	struct options *options = &provider->options;
	char error[512] = "";
	json_error_t where;

	if (timing_load(options->timing, options->profile, &provider->timing, error,
			sizeof(error)) != BC_OK ||
	    !dialogues_load(provider, error, sizeof(error))) {
		fprintf(stderr, "simprovider: %s\n", error);
		return false;
	}
	options_complete(options, &provider->timing);
	if (options->script != NULL) {
		provider->script = json_load_file(options->script, 0, &where);
		if (provider->script == NULL) {
			fprintf(stderr, "simprovider: %s:%d: %s\n", options->script, where.line,
				where.text);
			return false;
		}
	}
	if (options->log != NULL) {
		provider->log = fopen(options->log, "we");
		if (provider->log == NULL) {
			fprintf(stderr, "simprovider: %s: %s\n", options->log, strerror(errno));
			return false;
		}
	}
	return true;
}

static bool listening_begin(struct provider *provider)
{
	struct wire_listen_conf conf = {
		.port = provider->options.port, .accept = session_accept, .arg = provider};

	if (provider->options.cert != NULL) {
		provider->tls = wire_tls_server(provider->options.cert, provider->options.key_file);
		if (provider->tls == NULL) {
			return false;
		}
		conf.tls = provider->tls;
	}
	if (wire_listen(provider->loop, &conf, &provider->listener) != BC_OK) {
		fprintf(stderr, "simprovider: cannot listen on 127.0.0.1:%u: %s\n", conf.port,
			strerror(errno));
		return false;
	}
	log_parameters(provider);
	printf("listening %u\nparameters sha256:%s\n", wire_listener_port(provider->listener),
	       provider->timing.sha256);
	fflush(stdout);
	return true;
}

static void stop(struct ev_loop *loop, ev_signal *signal, int events)
{
	(void)signal;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

/* Signals are taken before anybody knows that we are there. */
static bool serve(struct provider *provider)
{
	ev_signal terminate;
	ev_signal interrupt;
	bool listening;

	ev_signal_init(&terminate, stop, SIGTERM);
	ev_signal_init(&interrupt, stop, SIGINT);
	ev_signal_start(provider->loop, &terminate);
	ev_signal_start(provider->loop, &interrupt);
	path_init(provider);
	listening = listening_begin(provider);
	if (listening) {
		ev_run(provider->loop, 0);
		sessions_end(provider);
	}
	ev_signal_stop(provider->loop, &terminate);
	ev_signal_stop(provider->loop, &interrupt);
	return listening;
}

int main(int argc, char **argv)
{
	struct provider provider = {.loop = ev_default_loop(0)};
	bool ready;

	TAILQ_INIT(&provider.live);
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		options_help();
		return 0;
	}
	if (!options_parse(argc, argv, &provider.options)) {
		fputs("simprovider: see --help\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	provider.started = ev_time();
	ready = files_load(&provider) && serve(&provider);
	wire_listener_free(provider.listener);
	dialogue_set_release(&provider.dialogues);
	json_decref(provider.script);
	wire_tls_free(provider.tls);
	for (size_t i = 0; i < BC_ARRAY_LEN(provider.tones); i++) {
		free(provider.tones[i]);
	}
	if (provider.log != NULL) {
		fclose(provider.log);
	}
	return ready ? 0 : 1;
}
