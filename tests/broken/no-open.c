/* Leaves the slot open empty. */
#define OPEN NULL
#include "base.h"
#include "entry.h"
