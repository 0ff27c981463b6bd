// The replaceable forms of operator new and delete as a preloaded library has them.

#define HARDENED_FORM [[gnu::visibility("default")]]

#include "hardened/shim/new_delete_forms.h"
