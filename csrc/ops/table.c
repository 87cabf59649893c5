/* The table of one variant, from the two lists. */
#include "ops/vec.h"

#define OP(name) extern PB_OP(name);
#include "ops/ops.def"
#undef OP
#define OPTIM(name) extern PB_OPTIM(name);
#include "optim/optim.def"
#undef OPTIM

#define OP(name) &PB_NAME(pb_op_##name),
static const pb_op *const ops[] = {
#include "ops/ops.def"
    NULL};
#define OPTIM(name) &PB_NAME(pb_optim_##name),
static const pb_optim *const optims[] = {
#include "optim/optim.def"
    NULL};

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

extern const pb_vector PB_NAME(pb_vector);
extern const pb_table PB_NAME(pb_table);
const pb_table PB_NAME(pb_table) = {.isa = TEXT(PB_ISA),
                                    .real_size = sizeof(real),
                                    .lanes = LANES,
                                    .ops = ops,
                                    .optims = optims,
                                    .vector = &PB_NAME(pb_vector)};
