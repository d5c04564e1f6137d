/* Leaves the slot stream_next empty. */
#define STREAM_NEXT NULL
#include "base.h"
#include "entry.h"
