/* Leaves the slot close empty. */
#define CLOSE NULL
#include "base.h"
#include "entry.h"
