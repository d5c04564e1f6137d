/* Gives rows of an object that was not asked for. */
#define BATCH_OBJECT "Secrets"
#include "base.h"
#include "entry.h"
