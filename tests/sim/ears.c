/* The provider's recogniser: what was said becomes words some time later, at times the wrong ones, and at times none. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

struct transcript {
	struct sim_conv *conv;
	char item[SIM_ID];
	unsigned first; /* segments */
	unsigned last;
	bool complete; /* it is all of the item */
};

static size_t put_word(char *out, size_t size, unsigned marker)
{
	bool misheard = sim_chance(8) == 0;

	sim.stats.misheard += misheard;
	return (size_t)(misheard ? snprintf(out, size, SIM_WORD_MISHEARD, marker)
				 : snprintf(out, size, SIM_WORD, marker));
}

static void tell(void *arg)
{
	static const char head[] = "{'type':'conversation.item.input_audio_transcription.";
	struct transcript *transcript = arg;
	char words[128] = "";
	char text[512];
	size_t len = 0;

	for (unsigned i = transcript->first; i <= transcript->last; i++) {
		len += put_word(words + len, sizeof(words) - len, i);
	}
	if (!transcript->complete) {
		(void)snprintf(text, sizeof(text),
			       "%sdelta','item_id':'%s','content_index':0,'delta':'%s'}", head,
			       transcript->item, words);
		conv_says(transcript->conv, text);
	} else if (sim_chance(12) == 0) {
		(void)snprintf(text, sizeof(text),
			       "%sfailed','item_id':'%s','content_index':0,'error':{'code':'x'}}",
			       head, transcript->item);
		conv_says(transcript->conv, text);
	} else if (sim_chance(20) > 0) { /* or it never comes */
		(void)snprintf(text, sizeof(text),
			       "%scompleted','item_id':'%s','content_index':0,'transcript':'%s'}",
			       head, transcript->item, words);
		conv_says(transcript->conv, text);
	}
	free(transcript);
}

static void understand(struct sim_conv *conv, struct sim_ears *ears,
		       const struct transcript *transcript)
{
	struct transcript *own = malloc(sizeof(*own));
	bc_usec slow = sim_chance(10) == 0 ? 2 * SIM_SEC : 250 * SIM_MS;

	BC_BUG_ON(own == NULL);
	*own = *transcript;
	own->conv = conv;
	memcpy(own->item, ears->item, SIM_ID);
	ears->clock = ears->clock < sim.now ? sim.now : ears->clock;
	ears->clock += sim_between(20 * SIM_MS, slow);
	sim_post(ears->clock - sim.now, tell, own);
}

void ears_hear(struct sim_conv *conv, struct sim_ears *ears, unsigned marker)
{
	understand(conv, ears, &(struct transcript){.first = marker, .last = marker});
}

void ears_complete(struct sim_conv *conv, struct sim_ears *ears, unsigned marker)
{
	understand(conv, ears,
		   &(struct transcript){.first = ears->first, .last = marker, .complete = true});
}
