// What a reader of the page sees, by computed styles and boxes: every chart with more than one line or part has
// a legend with an entry for each, and no text lies over another or outside of its picture. The findings go
// into the page's title.
(() => {
  const findings = [];
  document.querySelectorAll('details').forEach(d => d.open = true);
  const box = e => e.getBoundingClientRect();
  const seen = e => {
    for (let at = e; at && at !== document; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.display === 'none' || style.visibility !== 'visible' || +style.opacity === 0) return false;
    }
    return box(e).width > 0 && box(e).height > 0;
  };
  const inside = (a, b) =>
    a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  const words = text => text.trim().slice(0, 30);
  const styles = (root, selector) => new Set([...root.querySelectorAll(selector)].map(
    e => [...e.classList].find(c => /^[sp]\d+$/.test(c))));

  let charts = 0, legends = 0;
  for (const figure of document.querySelectorAll('figure')) {
    const name = words(figure.querySelector('figcaption').textContent);
    const picture = figure.querySelector(':scope > svg');
    if (!seen(picture)) findings.push(`chart "${name}" is not visible`);
    ++charts;
    for (const text of picture.querySelectorAll('text'))
      if (!inside(box(text), box(picture))) findings.push(`"${words(text.textContent)}" leaves chart "${name}"`);
    const lines = Math.max(styles(picture, '.l').size, styles(picture, '.box').size);
    if (lines < 2) continue;
    ++legends;
    const legend = figure.querySelector('.legend');
    const entries = legend ? [...legend.children].filter(e =>
      seen(e) && words(e.textContent) && [...e.querySelectorAll('path')].some(seen) && inside(box(e), box(figure))) : [];
    if (entries.length < lines)
      findings.push(`chart "${name}" has ${lines} lines and a legend of ${entries.length} visible entries`);
  }
  if (document.querySelector('figure') && !legends) findings.push('no chart has more than one line');

  // Every piece of text by its boxes, without the line spacing; neighbours from top to bottom.
  const pieces = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest('title, style, script') || !seen(parent)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const rects = parent.closest('svg') ? [box(parent)] : range.getClientRects();
    for (const r of rects) {
      const height = Math.min(r.height, 0.75 * r.height + 4), spare = (r.height - height) / 2;
      if (r.width > 1) pieces.push({left: r.left, right: r.right, top: r.top + spare, bottom: r.bottom - spare,
                                    text: words(node.textContent), node});
    }
  }
  pieces.sort((a, b) => a.top - b.top);
  let overlaps = 0;
  for (let i = 0; i < pieces.length; ++i)
    for (let j = i + 1; j < pieces.length && pieces[j].top < pieces[i].bottom; ++j) {
      const a = pieces[i], b = pieces[j];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - b.top;
      if (a.node !== b.node && wide > 1 && high > 1 && ++overlaps <= 10)
        findings.push(`"${b.text}" lies over "${a.text}"`);
    }
  document.title = `checked ${charts} charts, ${legends} legends, ${pieces.length} texts; ` +
    (findings.length ? 'FINDINGS: ' + findings.join('; ') : 'no findings');
})();
