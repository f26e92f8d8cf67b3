# The service on Node. Base images are pinned by tag, so that a rebuild brings their security fixes:
# `docker build --pull .`. Pin them by digest too where every build has to be the same.

FROM node:24-trixie-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY src/browser/package.json ./src/browser/
# No package's own script runs: nothing here needs one, and this image has its Node.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY src ./src
# The demo needs no image. Maps point at sources that are not shipped.
RUN npm run build && rm -rf dist/demo && find dist -name '*.map' -delete && mv dist/emulator /emulator

FROM node:24-trixie-slim AS dependencies
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY src/browser/package.json ./src/browser/
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

# The stand-in for UponAI, for trying things out: `docker build --target emulator .`
FROM gcr.io/distroless/nodejs24-debian13:nonroot AS emulator
WORKDIR /app
COPY --from=dependencies /build/package.json ./
COPY --from=dependencies /build/node_modules ./node_modules
COPY --from=build /emulator ./dist/emulator
CMD ["dist/emulator/main.js"]

# What runs in production, and the default. No shell, no package manager; user 65532 (nonroot).
FROM gcr.io/distroless/nodejs24-debian13:nonroot AS service
WORKDIR /app
ENV NODE_ENV=production
COPY --from=dependencies /build/package.json ./
COPY --from=dependencies /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
EXPOSE 8787
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/nodejs/bin/node", "dist/platform/node/healthcheck.js"]
# The base's entry point is Node itself, so signals reach the service. Other commands:
# `docker run … dist/cli/main.js --help`.
CMD ["dist/platform/node.js"]
