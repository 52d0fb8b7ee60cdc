// Line plots of series with a logarithmic x axis: seconds and memory of each in one row.

/** @param series `{ name, unit, points: [{ at, seconds, memory }] }`. @returns SVG. */
export function linePlots(series) {
  const [width, height, gap] = [330, 190, 70];
  const rows = series.map((one, i) => {
    const y = 50 + i * (height + gap);
    return (
      `<text x="60" y="${y - 12}" font-size="14">${one.name}</text>` +
      panel(one, 'seconds', 60, y, width, height) +
      panel(one, 'memory', 60 + width + gap, y, width, height)
    );
  });
  const total = 50 + series.length * (height + gap);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${2 * width + gap + 100}" height="${total}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
${rows.join('\n')}
</svg>
`;
}

function panel({ unit, points }, key, left, top, width, height) {
  const most = Math.max(...points.map((point) => point[key])) * 1.1 || 1;
  const [first, last] = [Math.log(points[0].at), Math.log(points.at(-1).at)];
  const x = (at) => left + (width * (Math.log(at) - first)) / (last - first || 1);
  const y = (value) => top + height - (height * Math.max(0, value)) / most;
  const line = points.map((point) => `${x(point.at).toFixed(1)},${y(point[key]).toFixed(1)}`).join(' ');
  const marks = points.map(
    (point) =>
      `<circle cx="${x(point.at)}" cy="${y(point[key])}" r="3" fill="#3b7ddd"/>` +
      `<text x="${x(point.at)}" y="${top + height + 14}" text-anchor="middle">${point.at}</text>`,
  );
  const what = key === 'seconds' ? 's' : 'MiB over an idle Node';
  return (
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#bbb"/>` +
    `<text x="${left + 4}" y="${top + 12}">${most.toPrecision(3)} ${what}</text>` +
    `<polyline points="${line}" fill="none" stroke="#3b7ddd" stroke-width="2"/>${marks.join('')}` +
    `<text x="${left + width}" y="${top + height + 28}" text-anchor="end">${unit}</text>`
  );
}
