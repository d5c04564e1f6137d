/* The answers of calls, except streams. */
#ifndef ANSWER_H
#define ANSWER_H

#include "store.h"

/* The data that all calls use. */
struct context {
  struct options options;
  struct store store;
  int64_t (*now_us)(void);
};

/* Writes the answer of the call with this number and message, as an encoded CallResponse. */
void answer_call(struct context *context, uint32_t call, struct text request, struct stop stop, struct bytes *out);
/* Writes the CallResponse of a failure. */
void answer_failure(struct bytes *out, const struct failure *why);

/* Checks a Connection's key, and reads the separator that the group chose. */
bool connection_check(struct context *context, struct text connection, char *separator, struct failure *why);

#endif
