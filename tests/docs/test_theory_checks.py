"""The scripts behind the measured numbers of docs/theory: each is run, and what it prints stays within the bounds here.

A line of `CLAIMS` is text that a script prints, with a bound in braces where it prints a number: `{<1e-13}` at most, `{>0.1}` at
least, `{=0}` equal, `{}` anything. The text has to occur, and every occurrence has to obey. Bounds on rounding are ten times and more
above what was measured, because another BLAS sums in another order; figures that the pages quote as such are bounded from both sides.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.required import ORACLES, oracle

CHECKS = Path(__file__).parents[2] / "docs" / "theory" / "checks"
HELPERS = {"aligned_data", "closures", "common", "one_mode", "pivot_gradients", "structures"}
SLOW = {"section01_alignment": 15, "section04_modes": 100, "section06_conjecture": 200, "section06_obstruction": 65}  # seconds
NEEDS = {"section13_curvature": "torch", "section14_kernel": "torch", "section15_flow": "mpmath"}

CLAIMS = {
    "section01_alignment": [
        "max commutator metric {<1e-13}, max residual {<1e-13} over 300 random aligned pairs",
        "best strict off-diagonal^2 over O(2) = {=1}",
        "300 aligned chains d=2..6: max (E) {<1e-13}, max all (a,i,b) {<1e-13}, max residual {<1e-13}",
        "1 identities, W_d=[[1,1],[0,1]]: pairwise {=0}, (E) {=0.55}, residual {>0.1}",
        "W2=diag(2,2,1,1) rotated: pairwise {<1e-14}, (E) {>0.17}, residual {>0.01}",
        "over 20000 random PSD pairs: {<0.70711} ; at rank one, 45 deg: {=0.707107}",
        "hill-climbed max of ||[A,B]||_F/(||A||_F||B||_F): {<0.707107}",
        "max abs difference {<1e-13}",
        "aligned pair: QR form {<1e-14}, trace form sqrt(|.|) {>1e-10}",
        "holds in all 200: True",
        "packed strictly: {=500} / 500",
        "rank test agrees with brute force {=400} / 400",
    ],
    "section01_pairwise": ["simple interior nonzero singular values: pairwise {<1e-13}, (E) {<1e-13}, residual {<1e-13}"],
    "section01_scores": [
        "exactly aligned): mean {>0.60}, 5% to 95% quantile {>0.55} to {<0.67}",
        "aligned start of the authors: score {=1} over {=74} vectors; mean over lower vectors and interfaces {=0.1189}",
        "invariance against itself {=1} over {=922} vectors",
        "784-1024-64-10, Gaussian: score {<0.14}; invariance of it against the aligned start {<0.13}",
    ],
    "section02_minimum": [
        "|L(W*)-Lmin|/|Y|^2 max {<1e-14}, scaled gradient max {<1e-13}, (E) {<1e-14}, balancedness {<1e-14}",
        "below Lmin in {=0} of 120 runs",
    ],
    "section03_invariance": [
        "60 nets, 400 steps: max relative off-diagonal {<1e-12}",
        "X^T [XX^T,YY^T] X : max error {<1e-14}",
        "a_j b_l (p_j A_jl - B_jl): max error {<1e-13} ; first-order change of P: max error {<1e-7}",
        "modes 2,3 moving: off-diagonal after 50 steps {>0.01}",
        "mode 3 moving: off-diagonal {<1e-14} although data metric sqrt2|[C,MtM]|/.. = {>0.02}, mode 3 moved by {>1}",
        "|J|=2 of min(k0,kd)=4: max off-diagonal after 300 steps {<1e-6}, data metric median {>0.1}",
        "second/first singular value {<1e-13}; v_1 rotated to |cos|={<0.3}",
        "(E) metric max {<1e-13}; layers 2..d off-diagonal in fixed bases {<1e-13}; layer 1 moved {>0.1}",
        "v_j in general position: (E) metric after 500 steps {>0.1}",
        "eta 1e-02: (E) after 1 step: balanced {<1.3e-4}, unbalanced aligned {>1e-3}",
        "eta 1e-04: (E) after 1 step: balanced {<1.4e-8}, unbalanced aligned {>1e-5}",
        "500 steps: (E) {<1e-14}, |W2-W1^T| {<1e-14}; V_1 moved: off-diagonal of P in initial bases {>0.1}",
        "autoencoder Y=X {<1e-14} | X=I {<1e-14} | whitened X {<1e-14} | generic {>0.1}",
        "equal norms in class {<1e-14} | unequal norms in class {>0.1}",
        "n=1: {<1e-14} ; k_d=1 generic n=20: {>0.1}",
        "n= 1: min over v of relative joint-eigenvector residual: min over 5 data sets {<1e-7}, median {<1e-7}",
        "n= 2: min over v of relative joint-eigenvector residual: min over 5 data sets {>0.01}, median {>0.01}",
    ],
    "section04_modes": [
        "overshoot/non-monotone {=0}, rate-bound violations {=0}, order violations {=0}",
        "c=0.99 overshoot=False, c=1.00 overshoot=False, c=1.01 overshoot=True",
        "balanced sigma=0.5,q=1     d= {}: eta_cert/eta_fail median {=0.5} min {=0.5}",
        "d=2: simple {=271} steps (bound {}), certified {=8} (bound 243), adaptive ln(q/p)/((q-p)p sum 1/s^2): {=5}",
        "random modes: violations {=0},",
        "undershoot/sign/monotone violations {=0}, rate violations {=0}",
        "prod_{l!=m}(s_l-s_m)^2) p : {=0}",
        "1650 runs: violations before/at crossing {=0}, after crossing (overshoot/non-monotone) {=0}",
        "bound violations {=0}; actual/certified",
    ],
    "section04_stability": [
        "c={=0.564642} (|sin 2th|=0.564642), c'={=0.29552} (|sin th|=0.295520), top={=0.955336}",
        "c={<1e-14}, authors' metric {<0.9}, top {}, align_bases residual {<1e-13}",
        "balanced pair: |W2^T W2 - W1 W1^T| {<1e-13}, c {<1e-14}; aligned but unbalanced: c {<1e-14}, imbalance {>29}",
        "lam_l Gamma_jl for all ordered pairs (j,l): max rel. error {<1e-13}",
        "certified in-manifold eta {=0.077}, full Hessian limit 2/max lam_l Gamma_jl = {=0.0216}",
        "at eta_cert: t=0: off-diag {<1e-14}, |PC-M| {} | t=20: off-diag {>1e-12}, |PC-M| {} | diverged at t={<60}",
        "t=3000: off-diag {<1e-12}, |PC-M| {<1e-12}",
    ],
    "section05_gram": [
        "stride/pad/dilation: mismatches {=0} / 193",
        "[[49, 56, 49], [56, 64, 56], [49, 56, 49]]",
        "circular conv2d 6x6, 3x3               eig(Gram) in [36,36]  ||K g - c Pi g||/||c Pi g|| = {<1e-13}",
        "same conv2d 8x8, 3x3                   eig(Gram) in [49,64]  ||K g - c Pi g||/||c Pi g|| = {>0.01}",
        "circular           theta-GD vs projected GD (eta scaled by mean c): {<1e-13} ; vs preconditioned K=AA^T: {<1e-13}",
        "zero-padded same   theta-GD vs projected GD (eta scaled by mean c): {>0.1} ; vs preconditioned K=AA^T: {<1e-13}",
        "sparse mask        theta-GD vs projected GD (eta scaled by mean c): {<1e-13} ; vs preconditioned K=AA^T: {<1e-13}",
        "taps rescaled by 1/sqrt(N): theta-GD vs projected GD: {<1e-13}",
    ],
    "section06_conjecture": ["smallest defects ['{>1e-6}'"],
    "section06_obstruction": [
        "circulant N=6                r= 6  obstruction {>0.1}",
        "symmetric circulant N=6      r= 4  obstruction {<1e-14}  common-basis off-diag {<1e-13}",
        "obstruction max {<1e-14}, recovered bases off-diag max {<1e-11}",
        "off-diagonal at t=0 {<1e-13}, at t=400 in own bases {<1e-13}, in the t=0 bases {>0.01}",
        "off-diagonal in the fixed real DFT basis {<1e-13}",
        "off-diagonal in the sine basis {<1e-13}, (E) {<1e-13}",
    ],
    "section07_samples": [
        "100 data sets: loss rel. error {<1e-13}, gradient rel. error {<1e-13}, rows = rank X (excess 0)",
        "compressed (4 rows): max rel. weight difference {<1e-13}",
        "merge of 7 blocks: loss difference {<1e-13}, gradient difference {<1e-13}",
        "e=1e-08: loss rel. error direct {<1e-9}, QR {<1e-6}, Gram {>1e-3} | gradient rel. error direct {<1e-8}, QR {<1e-5}",
        "centred at the least-squares map: loss {<1e-8}, gradient {<1e-8}",
    ],
    "section08_width": [
        "d=2 wide hidden, 8 samples                     widths [20, 200, 3] -> [8, 11, 3] params x0.026",
        "alternating bottleneck                         widths [30, 40, 4, 60, 5] -> [6, 10, 4, 9, 5]",
        "orthogonal interior layers, 6 samples          widths [30, 40, 40, 40, 5] -> [6, 11, 11, 11, 5]",
        "residual {<1e-13}  |full-reduced| {<1e-13}",
        "dims [5, 10, 10, 10, 10] (2 rank X = 10), |full-reduced| {<1e-13}",
        "k=30, r=3: dims [6, 6, 6, 6, 6], complement scalar sigma(T)={=0.4} (init 0.50), |full-reconstructed| {<1e-13}",
    ],
    "section09_convolutions": [
        "composed kernel vs chain {<1e-14}; length 1+sum (m_l-1) prod_{j<l} s_j verified; output length floor identity verified",
        "direct backprop (valid+stride, circular): {<1e-13} / {<1e-12}",
        "FFT autocorrelation: max error {<1e-13}",
        "products vs chain: {<1e-14}",
        "loss from per-frequency Grams: rel. error {<1e-13}",
        "interior {<1e-13}, boundary {>0.1} ; all padding put on the input: {<1e-13}",
        "2-D multi-channel valid: {<1e-14}",
    ],
    "section10_pivots": [
        "identity of all pivots with backprop (long double): {<1e-15}",
        "Gaussian/sqrt(k), d=20                       backprop {<1e-14} | pivots (data form) min {} median {<1e-14} max {<1e-13}",
        "error at the bottleneck pivot p=8: {<1e-13}",
        "[512, 512, 512, 4, 512, 512, 10]   rows 512: backprop {=1087.9} MMAC, best pivot 3: {=11.67} MMAC",
    ],
    "section11_rules": [
        "(a) gradient descent                                 {<1e-13}",
        "(a) heavy ball, coupled decay                        {<1e-13}",
        "(a) Nesterov (torch), coupled decay                  {<1e-13}",
        "(a) decoupled decay, cosine, mean of weights         {<1e-13}",
        "(b) clipping by the global norm, momentum            {<1e-13}",
        "(b) GroupRMSprop                                     {<1e-13}",
        "(c) polar factor of the gradient                     {<1e-12}",
        "(c) Shampoo                                          {<1e-11}",
        "(c) full-matrix Adagrad                              {<1e-13}",
        "(c) L-BFGS, fixed step                               {<1e-12}",
        "(d) Adam                                             {>0.1}",
        "(d) sign                                             {>0.1}",
        "largest of all rules but sign {<1e-9}",
        "change of the prediction: full {=3} lr, reduced {=2.2361} lr; part outside the data {=0.4472} lr",
        "|full - reduced| {=0}, columns outside moved {=0}",
        "6 units in 3 classes against 3 representatives: {<1e-13}",
    ],
    "section12_noise": [
        "|full - lifted| {<1e-13}",
        "S_d from Y^T X S_0 only  dims [8, 10, 10, 10]: full batch {<1e-13}, minibatches {>0.05}",
        "S_d from all rows of Y   dims [8, 13, 13, 13]: full batch {<1e-13}, minibatches {<1e-13}",
        "50 rows against 6 a step, 400 steps: {<1e-13}",
        "[784, 512, 512, 10]                first b = {=11} ",
        "[784, 512, 512, 1]                 first b = {=2} ",
        "Kolmogorov-Smirnov p-values {>0.01}; largest |difference of means| / standard error {<4}",
        "largest p-value after one step {<1e-100}",
        "width: closure {<1e-14} -> {>1e-3} after one step",
    ],
    "section13_curvature": [
        "H v {<1e-13}   G v {<1e-13}",
        "21 pairs + zeros: {<1e-13} of the largest",
        "squared, smaller S_d (T8.2): 81 eigenvalues, {<1e-13} of the largest",
        "4 times each: {<1e-13}",
        "one scalar chain, 5 times: {<1e-13}",
        "Gamma_{i+1,i}, 5 times: {<1e-13}",
        "|difference of the Hessians| {<1e-13}",
        "largest eigenvalue: parameters {=25.4666}, matrix metric {=3.3884}",
        "of 2/lambda: {=0.96}, {=1.04}",
        "lr 0.0308: {=0} oscillate",
        "lr 0.0363: {=3} oscillate",
        "smallest ratio lambda_max / bound {>1}; balanced rank one: formula to {<1e-12}, ratio to the bound {>1}",
        "220 -> 102 numbers, projector {<1e-13}, H - PHP {<1e-13}, spectra {<1e-13} of the largest",
        "220 -> 58 numbers, projector {<1e-13}, H - PHP {<1e-13}, spectra {<1e-13} of the largest",
    ],
    "section14_kernel": [
        "kernel against J J^T {<1e-14}; trace from Grams {<1e-13}",
        "from 6 rows instead of 400: {<1e-13}; nonzero eigenvalues of 1200 x 1200 from 18 x 18: {<1e-11}",
        "largest deviation {<4} standard errors",
        "on training inputs full - reduced {<1e-13}",
        "new inputs: with the complement {<1e-13}, without it {>0.1}",
        "two orthogonal kernels {<1e-13}; the second on the residual outside S_d {<1e-11}",
        "|df/dt + Theta D| / |df/dt| {<1e-9}",
    ],
    "section15_flow": [
        "[20, 30, 30, 3] -> [4, 7, 7, 3]: {<1e-11}",
        "conserved, dense: drift {<1e-11}, layers moved {>0.1}",
        "metric matrix    : channel matrix with its weights drifts {<1e-11}, its trace {<1e-11}; with weights of the parameter metric {>0.01}",
        "drifts {<1e-11}",
        "p(5) = {=0.995526}, half-way at t = {=2.29756}",
        "200 random modes of any signs: {<1e-10}",
        "against the integrated flow {<1e-10}",
        "t =     50: singular values 3.00e+00, 1.00e+00, 2.26e-01  this form {<1e-13}",
        "real stability interval of Dormand-Prince: {=3.307}",
        "; orders {>0.98} and {>1.95}",
    ],
    "section16_affine": [
        "circulant, 3 taps    preconditioned form {<1e-13}, projected {<1e-13}",
        "zero-padded, 3 taps  preconditioned form {<1e-13}, projected {>0.01}",
        "homogeneous coordinate: {<1e-13}; with ones on the compressed rows: {>0.1}",
        "[W_1 b_1] of 21 columns rotated to 4: {<1e-13}",
        "logistic, biases start at 0                    [20, 30, 30, 3] -> [4, 7, 7, 3]: {<1e-13}",
        "logistic, biases Gaussian                      [20, 30, 30, 3] -> [4, 9, 9, 3]: {<1e-13}",
        "the same, closure without the biases           [20, 30, 30, 3] -> [4, 7, 7, 3]: {>0.01}",
        "decay 0.00: I + W against a dense layer started at I + W(0): {<1e-13}",
        "decay 0.05: I + W against a dense layer started at I + W(0): {>0.1}",
        "E(B) + f E(W) + lifted: {<1e-13}",
        "drift {<1e-11}; without the bias term {>0.1}",
    ],
}

NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?|nan|inf)"


def parts(claim):
    """The regular expression of a claim and its bounds, as pairs of a sign and a number."""
    pattern, bounds = "", []
    for at, piece in enumerate(re.split(r"\{([<>=][^{}]+|)\}", claim)):
        if at % 2 == 0:
            pattern += re.escape(piece)
        else:
            pattern += NUMBER
            bounds.append((piece[:1], float(piece[1:])) if piece else ("", 0.0))
    return pattern, bounds


def obeys(number, sign, bound):
    return {"": True, "<": number <= bound, ">": number >= bound, "=": number == bound}[sign]


def test_every_script_has_its_claims_and_says_how_to_run_it():
    scripts = {path.stem for path in CHECKS.glob("*.py")} - HELPERS
    assert scripts == set(CLAIMS)
    for name in scripts:
        assert f"python docs/theory/checks/{name}.py" in (CHECKS / f"{name}.py").read_text().split('"""')[1]


def test_claims_are_refused_when_they_do_not_hold():
    pattern, bounds = parts("error {<1e-3}, {} of {=5}")
    found = re.search(pattern, "the error 2e-3, 7 of 5.0")
    assert bounds == [("<", 1e-3), ("", 0.0), ("=", 5.0)]
    assert [obeys(float(n), *b) for n, b in zip(found.groups(), bounds, strict=True)] == [False, True, True]
    assert not obeys(float("nan"), "<", 1.0)


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_measured_numbers(name):
    if name in SLOW and not os.environ.get("LINALIGN_SLOW"):
        pytest.skip(f"takes about {SLOW[name]} s: set LINALIGN_SLOW=1")
    if name in NEEDS:
        (oracle if NEEDS[name] in ORACLES else pytest.importorskip)(NEEDS[name])
    run = subprocess.run(
        [sys.executable, str(CHECKS / f"{name}.py")],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for claim in CLAIMS[name]:
        pattern, bounds = parts(claim)
        found = list(re.finditer(pattern, run.stdout))
        assert found, f"{name} does not print {claim!r}"
        for match in found:
            for number, bound in zip(match.groups(), bounds, strict=True):
                assert obeys(float(number), *bound), f"{match.group()!r} breaks {claim!r}"
