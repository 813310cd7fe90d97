"""Bugs made by hand, each with the tests that must notice it: what a slip in this code would look like.

``python test/mutation/run.py`` plants them one at a time in a copy of the tree. ``test/unit/test_mutants.py``
sees that every one still finds its place and its killers.
"""

# ruff: noqa: E501 (code is quoted as it stands)

from __future__ import annotations

from dataclasses import dataclass

UNIT = "test/unit/"
CPU = "test/unit/sparse_dialect/lowering/cpu/"
CLASSES = CPU + "kernels/test_kernel_classes.py"
COLUMNS = CPU + "kernels/test_column_groups.py"
ROWS = CPU + "kernels/test_dense_rows.py"
CHANNELS = CPU + "kernels/test_channelwise.py"
RECURRENT = CPU + "kernels/test_recurrent.py"
PLAN = CPU + "plan/test_conv_plan.py"
STORAGE = UNIT + "sparse_dialect/storage/"
C_ABI = UNIT + "runtime/c/test_c_abi.py"


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``find`` (which stands there once) becomes ``replacement``; ``killers``: files of pytest or
    lit, one of which fails."""

    name: str
    file: str
    find: str
    replacement: str
    killers: tuple[str, ...]


def in_cpu(name: str, file: str, find: str, replacement: str, *killers: str) -> Mutant:
    return Mutant(name, f"sparse_dialect/lowering/cpu/{file}", find, replacement, killers)


def in_storage(name: str, file: str, find: str, replacement: str, *killers: str) -> Mutant:
    return Mutant(name, f"sparse_dialect/storage/{file}.py", find, replacement,
                  tuple(STORAGE + killer for killer in killers))


def in_c(name: str, file: str, find: str, replacement: str, *killers: str) -> Mutant:
    return Mutant(name, f"runtime/c/{file}.c", find, replacement, killers or (C_ABI,))


PLANNING = (
    in_cpu("padding off by one", "plan/conv_plan.py", "x - window.padding[2])", "x - window.padding[2] + 1)", PLAN,
           CLASSES),
    in_cpu("the last halo line is not needed", "plan/conv_plan.py", "first + (n - 1) * stride + 1, stride)",
           "first + (n - 1) * stride, stride)", PLAN, CLASSES),
    in_cpu("borders numbered one too high", "plan/conv_plan.py", "np.where(plain, -1, np.cumsum(~plain) - 1)",
           "np.where(plain, -1, np.cumsum(~plain))", PLAN, CLASSES),
    in_cpu("every image is the first", "plan/conv_plan.py", "items[:, 0] = images", "items[:, 0] = 0", PLAN, CLASSES),
    in_cpu("the last part of a side is not cut", "plan/conv_plan.py", "for i in range(count + 1)]",
           "for i in range(max(count, 2))]", PLAN),
    in_cpu("a stride is forgotten", "plan/conv_plan.py", "(a * s + t for a, s, t in", "(a + t for a, s, t in", PLAN,
           CLASSES),
    in_cpu("a pooled tile lies elsewhere", "plan/conv_plan.py", "(at // pool_window(target, pooled)).tolist()",
           "at.tolist()", PLAN, CLASSES),
    Mutant("the halo of a dilated window is short", "sparse_dialect/geometry/window.py",
           "((n - 1) * s + (k - 1) * d + 1 for", "((n - 1) * s + (k - 1) + 1 for", (PLAN, CLASSES)),
    Mutant("slices inside miss the last", "sparse_dialect/geometry/window.py",
           "high = (depth - 1 + padding - first * stride) // step + 1",
           "high = (depth - 1 + padding - first * stride) // step", (PLAN, COLUMNS)),
    Mutant("lanes of a grid swapped", "sparse_dialect/geometry/layouts.py", "line * self.lanes + i * self.lanes_wide + j",
           "line * self.lanes + j * self.lanes_high + i", (UNIT + "sparse_dialect/geometry/test_layouts.py",)),
    Mutant("groups of several channels are depthwise", "sparse_dialect/geometry/convolution.py",
           "self.groups == self.channels == self.filters", "self.groups == self.filters",
           (UNIT + "sparse_dialect/geometry/test_convolution.py",)),
)

KERNELS = (
    in_cpu("bias skipped", "kernels/tile.py",
           "[v for f in filters for v in [b.broadcast(b.scalar(self.bias, f))] * count]", "[b.splat(0.0)] * count_all",
           CLASSES),
    in_cpu("residual subtracted", "kernels/tile.py", "arith.AddFOp(total, self.b.load(self.residual, *where))",
           "arith.SubFOp(total, self.b.load(self.residual, *where))", CLASSES),
    in_cpu("epilogue without activation", "kernels/tile.py",
           "return activated(self.b, total, self._last_activation)", "return total", CLASSES),
    in_cpu("the first channel block counts as the last", "kernels/tile.py",
           "self.b.index(self.kernel.blocks - 1))\n        return", "self.b.index(0))\n        return", CLASSES),
    in_cpu("a thread begins with the whole item", "kernels/tile.py",
           "arith.MaxSIOp(arith.SubIOp(self.begin, unit).result, b.index(0)).result", "b.index(0)", CLASSES),
    in_cpu("a thread leaves its last item out", "kernels/tile.py", "arith.CeilDivSIOp(self.end, b.index(chunks))",
           "arith.DivSIOp(self.end, b.index(chunks))", CLASSES),
    in_cpu("channels of the first block for all", "kernels/tile.py",
           "c if self.kernel.blocks == 1 else self.b.add(self.first_channel, c)", "c", CLASSES),
    in_cpu("a class stops where it starts", "kernels/kernel_classes.py",
           "b.integer(stride, row, b.index(at + 1)))\n            terms",
           "b.integer(stride, row, b.index(at)))\n            terms", CLASSES),
    in_cpu("filters that share loads share sums", "kernels/kernel_classes.py", "term, f * count + t))", "term, t))",
           CLASSES),
    in_cpu("a pass takes the group's first filters", "kernels/column_groups.py", "b.index(members.start), len(members))",
           "b.index(0), len(members))", COLUMNS),
    in_cpu("gaps are not added up", "kernels/column_groups.py", "number = b.add(number, b.integer(self.gap, e))",
           "number = b.integer(self.gap, e)", COLUMNS),
    in_cpu("an average of one place less", "kernels/channelwise.py", "b.splat(float(places))",
           "b.splat(float(places - 1))", CHANNELS),
    in_cpu("padding wins a maximum", "kernels/channelwise.py", "mask = [lane if lane >= 0 else b.lanes for",
           "mask = [max(lane, 0) for", CHANNELS),
    in_cpu("the last rows are not stored", "kernels/dense_rows.py",
           "rows, kernel.lanes * DENSE_VECTORS)\n", "rows - 1, kernel.lanes * DENSE_VECTORS)\n", ROWS),
    in_cpu("reset and update swapped", "kernels/recurrent.py",
           "reset, update = (sigmoid(b, arith.AddFOp(gates[at], sums[at]).result) for at in (0, 1))",
           "reset, update = (sigmoid(b, arith.AddFOp(gates[at], sums[at]).result) for at in (1, 0))", RECURRENT),
    in_cpu("the cell is not kept", "kernels/recurrent.py", "self._store(unit, cell, self.cell, n, unit)\n",
           "self._store(unit, kept, self.cell, n, unit)\n", RECURRENT),
    in_cpu("an odd line is packed over its neighbour", "emit/packing.py", "in enumerate(values, at):",
           "in enumerate(values):", CLASSES),
)

STORAGES = (
    in_storage("a filter of a group is forgotten", "fkw", "members = order[stored.groups[here] * group + f]",
               "members = order[stored.groups[here] * group]", "test_fkw.py"),
    in_storage("channels are not counted in their block", "fkw", "index = absolute % channel_block",
               "index = absolute", "test_fkw.py"),
    in_storage("filters keep the storage's order", "fkw",
               "order[rows.reshape(-1, 1) * group + np.arange(group)].ravel()",
               "(rows.reshape(-1, 1) * group + np.arange(group)).ravel()", "test_fkw.py"),
    in_storage("bridges lead the wrong way", "column_groups",
               "return result - (np.repeat(last, steps) - np.arange(len(result))) * LARGEST_GAP",
               "return result + (np.repeat(last, steps) - np.arange(len(result))) * LARGEST_GAP",
               "test_column_groups.py"),
    in_storage("all groups read the first one's channels", "column_groups", "whole[group, :, group] = part",
               "whole[group, :, 0] = part", "test_column_groups.py"),
    in_storage("every unit holds the first one's rows", "sell", "place * slices.group + unit * slices.rows",
               "place * slices.group", "test_sell.py"),
    in_storage("advances counted from the start", "sell", "advance = np.where(first, base, np.diff(base, prepend=0))",
               "advance = base", "test_sell.py"),
    in_storage("the last unit has no owner", "sell", "edges[-1] = len(work)", "edges[-1] = len(work) - 1",
               "test_sell.py", "../lowering/cpu/kernels/test_dense_rows.py"),
    in_storage("rows of a block transposed", "dense", "packed[at, :, : len(part)] = part.T",
               "packed[at, :, : len(part)] = part.T[::-1]", "test_dense.py", "test_storage.py"),
)

NETWORK = (
    Mutant("no barrier between what depends", "sparse_dialect/lowering/cpu/distribute_work.py", "        if clash:\n",
           "        if clash and not reads:\n", ("test/transforms/distribute-work.mlir",)),
    Mutant("chunks are empty", "sparse_dialect/lowering/cpu/distribute_work.py",
           "op.operands[last - 1], op.operands[last] = begin, end", "op.operands[last - 1] = begin",
           ("test/transforms/distribute-work.mlir",)),
    Mutant("lifetimes that touch may overlap", "sparse_dialect/lowering/buffers/plan_memory.py",
           "p.first <= buffer.last and buffer.first <= p.last", "p.first < buffer.last and buffer.first < p.last",
           ("test/transforms/plan-memory.mlir",)),
    Mutant("a reversed layer reads forward", "sparse_dialect/lowering/buffers/time_steps.py",
           "arith.SubIOp if forward else arith.AddIOp", "arith.SubIOp", (UNIT + "frontends/torch/test_recurrent.py",)),
    Mutant("a subtracted constant is added", "sparse_dialect/transforms/raise_linalg/epilogue.py",
           'if name == "add" else left.shift - right)', 'if name == "add" else left.shift + right)',
           (UNIT + "sparse_dialect/transforms/test_raise_linalg.py", "test/transforms/raise-linalg.mlir")),
    Mutant("a residual is not scaled", "sparse_dialect/transforms/raise_linalg/epilogue.py",
           "shift=shift) if term.residual is None else None", "shift=shift)",
           ("test/transforms/raise-linalg-not.mlir", "test/transforms/raise-linalg.mlir",
            UNIT + "sparse_dialect/transforms/test_raise_linalg.py")),
    Mutant("a load survives a store", "sparse_dialect/lowering/loads/eliminate_redundant_loads.py",
           "            self.epoch += 1\n", "            pass\n",
           ("test/transforms/eliminate-redundant-loads.mlir",
            UNIT + "sparse_dialect/lowering/loads/test_eliminate_redundant_loads.py")),
    Mutant("one weight too many of each group stays", "sparse_dialect/schemes/n_m.py", "group[rank >= n] = 0",
           "group[rank > n] = 0", (UNIT + "sparse_dialect/schemes/test_n_m.py",)),
    Mutant("weights are not aligned", "sparse_dialect/lowering/buffers/externalize_constants.py",
           "return align(pieces[-1][0] + pieces[-1][1].nbytes)", "return pieces[-1][0] + pieces[-1][1].nbytes",
           ("test/transforms/externalize-constants.mlir",)),
    Mutant("relu6 ends at 5", "sparse_dialect/activations.py", '"relu6", clamp(X, 0.0, 6.0)',
           '"relu6", clamp(X, 0.0, 5.0)', (UNIT + "sparse_dialect/test_activations.py", CLASSES)),
    Mutant("the code's word does not count", "runtime/abi.py", "        if found != needed:\n",
           "        if found is needed is None:\n", (UNIT + "runtime/test_forged_files.py",)),
    Mutant("any weights are taken", "runtime/executors/jit.py", 'if digest_of(weights.data) != self._declared["digest"]:',
           'if not self._declared["digest"]:', (UNIT + "runtime/test_forged_files.py",)),
)

RUNTIME = (
    in_c("any weights are taken in C", "pair", "if (memcmp(digest, model->code->digest, sizeof digest) == 0)",
         "if (digest[0] == digest[0])"),
    in_c("checksums are not compared", "archive", "if (crc_of(found.member) != found.crc)",
         "if (crc_of(found.member) == 0)"),
    in_c("a digest without its length", "digest", "bytes.size - at, 1);", "BLOCK, 1);"),
    in_c("an input may be longer", "espalier", "|| (exact && buffer.bytes != expected))", "|| (exact && false))"),
    in_c("the last item of a chunk is left out", "team", "turn->end = (int64_t)(items * (chunk + 1) / chunks);",
         "turn->end = (int64_t)(items * (chunk + 1) / chunks) - 1;", C_ABI),
    in_c("a barrier waits for one chunk less", "team", "turn->expected += chunks;",
         "turn->expected += chunks - (chunks > 0);", UNIT + "runtime/executors/test_team.py"),
    in_c("the sizes of a record are not compared", "npy", "same = tensor->dims[i] < 0 || tensor->dims[i] == array->dims[i];",
         "same = true;"),
    in_c("a check forgives infinities", "check", "return HUGE_VAL;\n        }", "continue;\n        }"),
)

MUTANTS: tuple[Mutant, ...] = (*PLANNING, *KERNELS, *STORAGES, *NETWORK, *RUNTIME)
