/* Reading everything: object by object in the order of ids, a checkpoint behind each batch. */
#ifndef STREAM_H
#define STREAM_H

#include "answer.h"
#include "record.h"

/* Where a stream is: rows done of the selection's object. */
struct position {
  size_t object;
  size_t row;
  /* All rows of the object are done. */
  bool whole;
};

struct stream {
  /* Of the instance's list. */
  struct stream *next;
  uint64_t number;
  size_t users;
  bool pulling;

  /* The ReadRequest; whoever pulls has the rest for itself. */
  struct text request;
  char *bytes;
  int64_t deadline_us;
  bool begun;
  bool ended;
  /* Companies and contacts, or why there are none. */
  struct table *tables[2];
  struct failure reasons[2];
  struct position position;
  int step;
  struct selection selection;
  size_t announced;
  uint64_t sequence;
};

/* A stream of a ReadRequest; null without memory. */
struct stream *stream_new(struct text request, int64_t deadline_us);
void stream_free(struct stream *stream, struct context *context);
/* The next event, as an encoded StreamEvent. A pull that is stopped loses none. */
void stream_event(struct stream *stream, struct context *context, struct stop stop, struct bytes *out);
/* The StreamEvent that says what went wrong. */
void stream_failure(struct bytes *out, const struct failure *why);

#endif
