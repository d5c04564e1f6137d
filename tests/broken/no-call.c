/* Leaves the slot call empty. */
#define CALL NULL
#include "base.h"
#include "entry.h"
