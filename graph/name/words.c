/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/name/words.h"

#include <stdio.h>
#include <string.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"

static const char *const adjectives[] = {
	"amber", "brave", "bright", "calm",  "clear",  "crisp",	 "early",  "fair",
	"fine",	 "firm",  "fond",   "frank", "fresh",  "gentle", "glad",   "grand",
	"keen",	 "kind",  "late",   "light", "lively", "lucid",	 "mellow", "merry",
	"mild",	 "neat",  "noble",  "open",  "plain",  "proud",	 "quick",  "quiet",
	"rapid", "ready", "round",  "sharp", "silent", "slow",	 "smooth", "snug",
	"solid", "spry",  "steady", "still", "stout",  "sunny",	 "sure",   "swift",
	"tidy",	 "true",  "vivid",  "warm",  "wide",   "wild",	 "wise",   "young",
	"blue",	 "green", "grey",   "red",   "violet", "white",	 "silver", "golden",
};

static const char *const nouns[] = {
	"anchor",  "arch",    "barn",	 "basin",    "beacon", "bridge",  "brook",  "canal",
	"canyon",  "castle",  "cedar",	 "cliff",    "coast",  "comet",	  "copse",  "cove",
	"creek",   "delta",   "dune",	 "ember",    "fern",   "field",	  "fjord",  "forge",
	"garden",  "glade",   "grove",	 "harbour",  "heath",  "hill",	  "island", "lagoon",
	"lake",	   "lantern", "ledge",	 "marsh",    "meadow", "mill",	  "moor",   "oasis",
	"orchard", "pass",    "peak",	 "pier",     "pond",   "prairie", "quarry", "rapids",
	"reef",	   "ridge",   "river",	 "shore",    "spring", "summit",  "tarn",   "terrace",
	"tower",   "valley",  "village", "vineyard", "wharf",  "willow",  "wood",   "yard",
};

void words_name(unsigned int attempt, char ret[WORDS_MAX])
{
	char hex[9];
	unsigned long value;

	random_hex(hex, 8);
	value = strtoul(hex, NULL, 16);
	(void)snprintf(ret, WORDS_MAX, "%s_%s", adjectives[value % ARRAY_LEN(adjectives)],
		       nouns[(value / ARRAY_LEN(adjectives)) % ARRAY_LEN(nouns)]);
	if (attempt > 2)
		(void)snprintf(ret + strlen(ret), WORDS_MAX - strlen(ret), "%lu", value >> 16);
}

bool words_valid(const char *name)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char all[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t len = strlen(name);

	return len >= 1 && len <= 255 && strchr(letters, name[0]) && strspn(name, all) == len;
}
