/* The answers to calls, streams apart. */
#ifndef ANSWER_H
#define ANSWER_H

#include "store.h"

/* What every call works with. */
struct context {
  struct options options;
  struct store store;
  int64_t (*now_us)(void);
};

/* Answers a call of this number, with its message, by an encoded CallResponse. */
void answer_call(struct context *context, uint32_t call, struct text request, struct stop stop, struct bytes *out);
/* The CallResponse that says what went wrong. */
void answer_failure(struct bytes *out, const struct failure *why);

/* Checks a Connection's key, and reads the separator that the group chose. */
bool connection_check(struct context *context, struct text connection, char *separator, struct failure *why);

#endif
