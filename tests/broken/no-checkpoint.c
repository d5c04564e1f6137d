/* Gives rows without end and no checkpoint. */
#define ENDS 0
#define CHECKPOINTS 0
#include "base.h"
#include "entry.h"
