// Boxes that scroll sideways can be reached with the Tab key, and scrolled with the arrow keys.
function mark() {
    for (const box of document.querySelectorAll("article mjx-container")) {
        const room = box.closest("p, li, td, th, div").clientWidth;
        box.classList.toggle("wide", box.firstElementChild.getBoundingClientRect().width > room);
    }
    for (const box of document.querySelectorAll("article pre, article .table-wrapper, article mjx-container")) {
        if (box.scrollWidth > box.clientWidth + 1) {
            box.tabIndex = 0;
        } else {
            box.removeAttribute("tabindex");
        }
    }
}
window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    mark();
    window.addEventListener("resize", mark);
});

// Search excerpts show prose: no code, no formulas, no printed outputs.
if (typeof Search !== "undefined") {
    const plain = Search.htmlToText;
    Search.htmlToText = (html, anchor) => {
        const page = new DOMParser().parseFromString(html, "text/html");
        for (const part of page.querySelectorAll("pre, .math, .cell_output, details, nav")) {
            part.remove();
        }
        return plain(page.documentElement.outerHTML, anchor);
    };
}
