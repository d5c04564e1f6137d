/* Exports no symbol of tether's. */
#define SYMBOL some_function
#include "base.h"
#include "entry.h"
